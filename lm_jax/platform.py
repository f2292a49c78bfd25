"""Settings of jax that must stand before its first array does."""

import ctypes
import functools
import os
import re
import shlex
import sys
import time
import warnings
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lm_jax.errors import UserError

CACHE = Path(".lm_jax/compiled")
# Products of float32 arrays are float32 products: a GPU's and a TPU's own choice would
# be others.
PRECISION = "highest"


# What lets jax and libtpu compile for devices that aren't here, and look for none.
_AHEAD = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5e-4",  # of a machine: it decides nothing
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "true",
}


# What a seed draws depends on them, and nothing that a run keeps would say so.
_RANDOM = {
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_random_seed_offset": 0,
}


def configure(ahead: bool = False) -> None:
    """Keep compiled programs on disk, and let CPUs use their widest vectors.

    Where libtpu is installed, as for `plan`, and there is no TPU, none is looked for.
    Every program is kept, however fast it compiled: a run that starts again
    then begins at once. `JAX_COMPILATION_CACHE_DIR` puts them elsewhere. Products are
    as precise as their type; `JAX_DEFAULT_MATMUL_PRECISION` makes them otherwise.

    Args:
        ahead: whether this process only compiles, for devices that aren't here. It then
            starts none but virtual ones, wherever it runs.

    Raises:
        UserError: jax can't read a variable of the environment, computes in 64 bits or
            draws other random numbers.
    """
    if ahead:
        if "jax" not in sys.modules:  # it reads them but once
            os.environ.update(_AHEAD)
    else:
        if _has_libtpu_alone():
            os.environ["JAX_PLATFORMS"] = "cpu"
        if _on_cpu():
            _keep_memory()
    flags = os.environ.get("XLA_FLAGS", "")
    # XLA's CPU backend prefers 256-bit vectors; 512 took a step of 10.7M
    # parameters from 486 to 456 ms (bfloat16, two Zen 5 cores, jax 0.12).
    if "xla_cpu_prefer_vector_width" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_prefer_vector_width=512".strip()
    jax = _imported()
    _check_numbers(jax)
    if jax.config.values["jax_default_matmul_precision"] is None:
        jax.config.update("jax_default_matmul_precision", PRECISION)
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(CACHE.absolute()))
    # Where it can't be written, as on a full disk, it is made without, program by
    # program: nothing is lost.
    warnings.filterwarnings("ignore", "Error writing persistent compilation cache")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _check_numbers(jax: Any) -> None:
    """Refuse settings of jax under which a seed would draw other numbers.

    Raises:
        UserError: naming the one that is another, and what to say.
    """
    if jax.config.values["jax_enable_x64"]:
        raise UserError(
            "jax_enable_x64 is on (JAX_ENABLE_X64), and lm_jax computes in 32 bits or "
            "fewer: first values, random numbers and losses would be others. Say "
            'JAX_ENABLE_X64=0, or jax.config.update("jax_enable_x64", False).'
        )
    for name, ours in _RANDOM.items():
        if (found := jax.config.values.get(name, ours)) != ours:
            raise UserError(
                f"{name} is {found!r} ({name.upper()}): a seed would draw other first "
                f"values, dropout and samples than elsewhere. Unset it ({ours!r})."
            )


def _imported() -> Any:
    """Import jax, which reads its variables of the environment.

    Raises:
        UserError: one of them is none of its values.
    """
    try:
        import jax
    except ValueError as error:
        names = re.findall(r"jax_\w+", str(error).lower())
        said = [
            f"{n}={os.environ[n]}" for n in map(str.upper, names) if n in os.environ
        ]
        if not said:
            raise
        raise UserError(
            f"{said[0]}, in the environment, is none of the values that jax takes. "
            f"Unset it, or mend it ({error})."
        ) from error
    return jax


def called() -> str:
    """How this program was called: what can be typed again, where one is."""
    if by := os.environ.get("LM_JAX_CALLED"):
        return shlex.quote(by)
    name = Path(sys.argv[0]).name
    return {"lm_jax": "lm_jax", "launch.sh": "./launch.sh"}.get(
        name, "python -m lm_jax"
    )


def from_extra(name: str) -> str:
    """Say how an extra's packages are had, as the program was called."""
    if called().endswith("launch.sh"):
        return f"LM_JAX_EXTRAS={name} {called()} doctor installs the extra `{name}`."
    return f"install the extra `{name}`: pip install '.[{name}]' in the checkout."


def devices(several: bool = False) -> list[Any]:
    """Start jax, and give all its devices.

    Args:
        several: whether those of other processes may be among them.

    Raises:
        UserError: it doesn't find those that it was told to use, or it was started in
            several processes.
    """
    import jax

    try:
        found = jax.devices()
    except (RuntimeError, AssertionError) as error:
        names = ("JAX_PLATFORMS", "JAX_NUM_CPU_DEVICES", "CUDA_VISIBLE_DEVICES")
        said = [f"{n}={os.environ[n]}" for n in names if n in os.environ]
        told = f" with {', '.join(said)}" if said else ""
        reason = f": {str(error).splitlines()[0]}" if str(error) else "."
        raise UserError(
            f"jax finds no device{told}{reason} JAX_PLATFORMS=cpu computes on the CPU; "
            "without JAX_PLATFORMS jax takes the best that it finds."
        ) from error
    if jax.process_count() > 1 and not several:
        raise UserError(
            f"jax was started in {jax.process_count()} processes, and only training "
            "knows how to share its work among them. Start one, which uses all devices "
            "of its machine."
        )
    return found


@functools.cache
def machine_memory() -> int:
    """The bytes of memory that this process may use."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:  # a container may have less than the machine
        return min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):
        return total


def precision_of(dtype: str) -> str:
    """How precise the products of a model are that computes in a type.

    What the user has said, to jax or in the environment, is not changed.

    Args:
        dtype: "float32" and "bfloat16" are what they say on every backend; products in
            "tf32" round float32 numbers to 10 bits of fraction, on GPUs that can.

    Returns:
        A value of ``jax_default_matmul_precision``.
    """
    import jax

    said: str | None = jax.config.jax_default_matmul_precision
    if said not in (None, PRECISION) or "JAX_DEFAULT_MATMUL_PRECISION" in os.environ:
        return said or PRECISION
    return "high" if dtype == "tf32" else PRECISION


def products_of(model: Any) -> AbstractContextManager[Any]:
    """Trace products as precise as a model's ``dtype`` says; float32 if it has none."""
    import jax

    return jax.default_matmul_precision(
        precision_of(getattr(model, "dtype", "float32"))
    )


def _on_cpu() -> bool:
    """Whether jax will compute on the CPU, as far as can be told before it starts."""
    if platforms := os.environ.get("JAX_PLATFORMS"):
        return platforms.split(",")[0] == "cpu"
    return not any(map(find_spec, ("jax_plugins", "libtpu")))


def _has_libtpu_alone() -> bool:
    """Whether libtpu is here to compile with: no TPU is, nor another accelerator."""
    # jax itself sets the last one, where it sees no TPU.
    said = {name for name in os.environ if name.startswith("TPU_")}
    if os.environ.get("JAX_PLATFORMS") or said - {"TPU_SKIP_MDS_QUERY"}:
        return False
    installed = find_spec("libtpu") and not find_spec("jax_plugins")
    return bool(installed) and not has_tpu()


def has_tpu(root: Path = Path("/")) -> bool:
    """Whether this machine has a TPU, as launch.sh tells it.

    Args:
        root: of its files.
    """
    if any(root.glob("dev/accel[0-9]*")):
        return True
    return (root / "dev/vfio").exists() and any(
        map(_is_tpu, root.glob("sys/bus/pci/devices/*"))
    )


def _is_tpu(device: Path) -> bool:
    try:
        vendor, kind = ((device / n).read_text().strip() for n in ("vendor", "class"))
    except OSError:
        return False
    # Google's network and disk cards (class 0x02, 0x01) have its vendor too.
    return vendor == "0x1ae0" and not kind.startswith(("0x01", "0x02"))


def _keep_memory() -> None:
    """Let the C library keep what is freed instead of handing it back.

    XLA's CPU backend allocates the temporary memory of a step at each step. As
    glibc serves large requests, the kernel then gives out fresh zeroed pages
    every time: 131,000 page faults a step of 10.7M parameters, 340 ms of
    processor time where 231 do, and 20.5 where 11 do at 0.8M (bfloat16, two Zen 5
    cores). The process stays as large as it once was.

    Where a GPU computes there is nothing to gain, and compiling for it then takes more
    than twice as long (over 45 s in place of 24 until the first step at 0.8M, H200).
    """
    mallopt = _of_the_c_library("mallopt")
    if mallopt is None:  # musl has none
        return
    trim_threshold, top_pad, mmap_max, arena_max = -1, -2, -4, -8
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(top_pad, 2**26)
    # Other arenas are limited to 64 MB and fall back on fresh pages.
    mallopt(arena_max, 1)


def give_back_memory(freed: int) -> None:
    """Hand back what the C library keeps of the memory of a large step.

    What is kept has holes. A step whose temporary memory doesn't fit into that of the
    step before takes as much again, which is 13 GB for 10 million parameters and a
    context of 32k tokens: such steps take minutes, and can take fresh pages.

    Args:
        freed: bytes that are free now, or in a moment: a step that has ended gives its
            memory back a little later.
    """
    trim, before = _trim(), held_memory()
    if trim is None:
        return
    for _ in range(20):
        trim(0)
        if held_memory() <= before - freed // 2:
            return
        time.sleep(0.05)


@functools.cache
def _trim() -> Any | None:
    """What hands memory back; None where none is kept."""
    return _of_the_c_library("malloc_trim") if _on_cpu() else None


def held_memory() -> int:
    """The bytes of memory that this process holds; 0 where the system doesn't say."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _of_the_c_library(name: str) -> Any | None:
    """A function of glibc; None where there is another library."""
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), name, None)
