"""Settings of jax that must stand before its first array does."""

import ctypes
import os
import sys
from importlib.util import find_spec
from pathlib import Path

CACHE = Path(".lm_jax/compiled")


def configure() -> None:
    """Keep compiled programs on disk, and let CPUs use their widest vectors.

    Every program is kept, however fast it compiled: a run that starts again
    then begins at once. `JAX_COMPILATION_CACHE_DIR` puts them elsewhere.
    """
    if _on_cpu():
        _keep_memory()
    flags = os.environ.get("XLA_FLAGS", "")
    # XLA's CPU backend prefers 256-bit vectors; 512 took a step of 10.7M
    # parameters from 486 to 456 ms (bfloat16, two Zen 5 cores, jax 0.12).
    if "xla_cpu_prefer_vector_width" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_prefer_vector_width=512".strip()
    import jax

    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(CACHE.absolute()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _on_cpu() -> bool:
    """Whether jax will compute on the CPU, as far as can be told before it starts."""
    if platforms := os.environ.get("JAX_PLATFORMS"):
        return platforms.split(",")[0] == "cpu"
    return not any(map(find_spec, ("jax_plugins", "libtpu")))


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
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl has none
        return
    trim_threshold, top_pad, mmap_max, arena_max = -1, -2, -4, -8
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(top_pad, 2**26)
    # Other arenas are limited to 64 MB and fall back on fresh pages.
    mallopt(arena_max, 1)
