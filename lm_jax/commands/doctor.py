"""`doctor`: what this machine and this folder offer to training."""

import os
import platform
import shutil
import sys
import tempfile
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lm_jax.errors import UserError
from lm_jax.platform import called, configure, from_extra, has_tpu, machine_memory
from lm_jax.runs.directory import runs_below
from lm_jax.runs.environment import environment
from lm_jax.text.collection import COLLECTIONS
from lm_jax.text.known import KNOWN

_GB = 1e9
_CPU = "JAX_PLATFORMS=cpu {} doctor says whether the CPU works."
_REINSTALL = (
    "Remove .venv beside launch.sh and start again: it is made anew; or, in an "
    "environment of your own, pip install . in the checkout."
)

# Instruction sets that decide how fast bf16 is, best first.
_BF16 = {
    "amx_bf16": "bf16 matrices in tiles, several times faster than f32",
    "avx512_bf16": "bf16 products in hardware; whether faster, Product says",
    "avx512f": "wide f32; bf16 is emulated and gains nothing",
    "bf16": "bf16 products in hardware, faster than f32",
}


@dataclass(frozen=True)
class Finding:
    """One line of the report: what was found, and what to do about it."""

    subject: str
    found: str
    advice: str = ""
    blocks: bool = False  # training cannot run until it is mended


def main(args: list[str]) -> int:
    """Print what was found, one line each, and what to do about what is wrong.

    Returns 0 when training can run from the working directory, otherwise 1.

    Raises:
        UserError: for any argument but --help.
    """
    if args in (["-h"], ["--help"]):
        print(f"usage: {called()} doctor\n\nSay what this machine offers to training.")
        return 0
    if args:
        raise UserError(f"doctor takes no arguments, and was given: {args[0]}")
    blocked = False
    for finding in _examine(Path.cwd()):
        print(_lines(finding), flush=True)
        blocked |= finding.blocks
    print("\nTraining cannot run: mend what is marked STOP." if blocked else "\nReady.")
    return int(blocked)


def _examine(folder: Path) -> Iterator[Finding]:
    yield _python()
    try:
        configure()
        machine = environment()
    except UserError as error:  # which says what to do
        yield Finding("jax", "does not start", str(error), blocks=True)
    except Exception as error:  # whatever jax raises, the rest is still wanted
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        advice = _REINSTALL if isinstance(error, ImportError) else _CPU.format(called())
        yield Finding("jax", f"does not start: {reason}", advice, blocks=True)
    else:
        yield _versions(machine["versions"])
        yield _devices(machine)
        yield _cpu(machine)
        yield from _rates(machine["backend"])
    yield _memory()
    yield _data(os.environ.get("LM_JAX_DATA", ""))
    yield _cache(folder / ".lm_jax")
    yield _runs(folder / "runs")
    yield _disk(folder)


def _python() -> Finding:
    found = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info >= (3, 12):
        return Finding("Python", found)
    advice = (
        "Python 3.12 and later get jax 0.12, which multiplies bf16 matrices up to"
        " 5 times faster on CPUs with AMX. Install one"
        f"{_named_once()}."
    )
    return Finding("Python", found, advice)


def _named_once() -> str:
    if not called().endswith("launch.sh"):
        return ""
    return f" and name it once: LM_JAX_PYTHON=python3.13 {called()} doctor"


def _versions(versions: dict[str, str | None]) -> Finding:
    names = ("jax", "jaxlib", "flax", "optax", "orbax", "grain")
    missing = [name for name in names if versions.get(name) is None]
    found = ", ".join(f"{name} {versions.get(name) or 'MISSING'}" for name in names)
    return Finding("Packages", found, _REINSTALL if missing else "", bool(missing))


def _devices(machine: dict) -> Finding:
    counts = Counter(machine["devices"])
    kinds = ", ".join(f"{count} x {kind}" for kind, count in counts.items())
    found = f"{kinds} ({machine['backend']}), {machine['platform'].split('-')[0]}"
    if machine["backend"] == "cpu":
        for extra, there in (("cuda", _has_gpu()), ("tpu", has_tpu())):
            if there:
                advice = (
                    f"There is a {extra} device that jax does not use:"
                    f" {from_extra(extra)} Check the driver too, and that"
                    " JAX_PLATFORMS is not set."
                )
                return Finding("Devices", found, advice)
    return Finding("Devices", found)


def _has_gpu() -> bool:
    return any(Path("/dev").glob("nvidia[0-9]*")) or bool(shutil.which("nvidia-smi"))


def _cpu(machine: dict) -> Finding:
    flags = _cpu_flags()
    best = next((name for name in _BF16 if name in flags), None)
    meaning = f"{best}: {_BF16[best]}" if best else "no bf16 instructions known"
    model = machine["cpu"] or "unknown model"
    found, advice = f"{_many(machine['cores'], 'core')}, {model}; {meaning}", ""
    if best == "amx_bf16" and _numbers(machine["versions"]["jax"]) < (0, 12):
        old = sys.version_info < (3, 12)
        take = "take Python 3.12 or later" if old else "install jax 0.12 or later"
        advice = f"jax before 0.12 makes no use of AMX: {take}."
    return Finding("CPU", found, advice)


def _cpu_flags() -> set[str]:
    """Names of the instruction sets, as Linux spells them; empty elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:
        return set()
    for line in text.splitlines():
        if line.startswith(("flags", "Features")):
            return set(line.split(":", 1)[1].split())
    return set()


def _numbers(version: str) -> tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def _rates(backend: str) -> Iterator[Finding]:
    size = 1024 if backend == "cpu" else 8192
    f32, bf16 = _gflops(size, ("float32", "bfloat16"))
    better = "bf16" if bf16 > 1.1 * f32 else "f32"
    found = f"f32 {f32:,.0f} GFLOP/s, bf16 {bf16:,.0f} GFLOP/s ({size} x {size})"
    yield Finding("Product", f"{found}: compute in {better}")


def _gflops(size: int, dtypes: tuple[str, ...], seconds: float = 0.8) -> list[float]:
    """Best rate of a (size, size) matrix product of each type.

    By turns, within about `seconds`: what else the machine does slows all alike.
    """
    products = [_product(size, dtype) for dtype in dtypes]
    fastest = [float("inf")] * len(products)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for place, product in enumerate(products):
            start = time.perf_counter()
            product()
            fastest[place] = min(fastest[place], time.perf_counter() - start)
    return [2 * size**3 / least / 1e9 for least in fastest]


def _product(size: int, dtype: str) -> Callable[[], object]:
    """A matrix product that is compiled, and waits until it has been computed."""
    import jax
    import jax.numpy as jnp

    multiply = jax.jit(jnp.matmul)
    matrix = jnp.full((size, size), 1 / size, dtype)
    multiply(matrix, matrix).block_until_ready()
    return lambda: multiply(matrix, matrix).block_until_ready()


def _memory() -> Finding:
    total = machine_memory()
    advice = "" if total > 2 * _GB else "Less than 2 GB: take the smallest models."
    return Finding("Memory", f"{total / _GB:.1f} GB", advice)


def _data(place: str) -> Finding:
    below = {k: v.root for k, v in (KNOWN | COLLECTIONS).items() if v.folder}
    if not place:
        found = f"not set; it would be the folder that holds {', '.join(below)}"
        return Finding("LM_JAX_DATA", found)
    names = [name for name, root in below.items() if root and root.is_dir()]
    if names:
        return Finding("LM_JAX_DATA", f"{place}: {', '.join(names)}")
    fault = "holds no known corpus" if Path(place).is_dir() else "is not a folder"
    advice = f"Set it to the folder that holds one of {', '.join(below)}."
    return Finding("LM_JAX_DATA", f"{place} {fault}", advice)


def _cache(folder: Path) -> Finding:
    sizes = Counter[str]()
    for path in folder.rglob("*"):
        if path.is_file():
            sizes[path.relative_to(folder).parts[0]] += path.stat().st_size
    parts = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in sizes.items())
    return _written("Caches", folder, f"{folder.name}/: {parts or 'empty'}")


def _runs(folder: Path) -> Finding:
    below, beside = len(runs_below(folder)), len(_beside(folder))
    others = f", and {beside} beside it" if beside else ""
    return _written("Runs", folder, f"{folder.name}/: {_many(below, 'run')}{others}")


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _beside(folder: Path) -> list[Path]:
    """Runs in other folders here, by --run and --out: no deeper than a sweep's lie."""
    found, here = [], str(folder.parent)
    for place, below, files in os.walk(here):
        if Path(place) == folder or "experiment.json" in files:
            found += [Path(place)] * (Path(place) != folder)
            below.clear()
        deep = place.removeprefix(here).count(os.sep)
        below[:] = [each for each in below if deep < 4 and not each.startswith(".")]
    return found


def _written(subject: str, folder: Path, found: str) -> Finding:
    """A finding about a folder that training makes or writes to."""
    place = folder
    while not place.exists():
        place = place.parent
    try:  # asking for permission bits would miss full and read-only disks
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"0")
    except OSError as error:
        advice = "Go to a folder that you may write to; runs and caches lie below it."
        return Finding(subject, f"{found}, {error.strerror}", advice, blocks=True)
    return Finding(subject, f"{found}, writable")


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    full = free < 0.1 * _GB
    advice = "Make room: checkpoints and caches need it." if free < _GB else ""
    return Finding("Disk", f"{free / _GB:.1f} GB free", advice, blocks=full)


def _lines(finding: Finding) -> str:
    mark = "STOP" if finding.blocks else "note" if finding.advice else "ok"
    head = f"{mark:4}  {finding.subject:11}  "
    text = textwrap.fill(
        finding.found, 80, initial_indent=head, subsequent_indent=" " * 19
    )
    if not finding.advice:
        return text
    indent = " " * 19
    advice = textwrap.fill(
        finding.advice, 80, initial_indent=indent, subsequent_indent=indent
    )
    return f"{text}\n{advice}"
