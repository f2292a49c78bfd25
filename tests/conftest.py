"""Shapes are checked in every test: jaxtyping's annotations by beartype."""

import gc
import os
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings

import tests.checked

# What one test compiled, the next one and its processes don't compile again, however
# little it was. `test` names a folder that stays.
compiled = None
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    compiled = os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp()
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

# Messages are those of a call from the checkout, however the tests were called.
os.environ.pop("LM_JAX_CALLED", None)
sys.argv[0] = "launch.sh"

# Before jax starts: eight virtual devices, and a compiler that hurries. Tests
# spend their time compiling, not computing: this takes a fifth of it.
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        "--xla_backend_optimization_level=0",
        "--xla_llvm_disable_expensive_passes=true",
    ]
)

# What passed passes again: hypothesis draws the same inputs in every run, and times
# none, since machines are busy. To have it look for others:
# `./launch.sh test --hypothesis-profile default`.
settings.register_profile("default", deadline=None)
settings.register_profile("same", derandomize=True)
settings.load_profile("same")

tests.checked.install()


def pytest_collection_modifyitems(items):
    """Begin with the files that take longest: then all processes end together."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(autouse=True, scope="module")
def forgotten():
    """Let go of what a file compiled.

    A process of Linux may map some 65,000 areas of memory, and each program takes a
    few: a long suite would end with a crash of the compiler.
    """
    yield
    import jax  # the flags above are set by now

    if areas() > 40_000:
        jax.clear_caches()
        gc.collect()


def areas():
    """Count the areas of memory that this process maps; far too many if none says."""
    try:
        return Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError:
        return sys.maxsize


def pytest_unconfigure():
    if compiled:
        shutil.rmtree(compiled)
