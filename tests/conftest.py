"""Shapes are checked in every test: jaxtyping's annotations by beartype."""

import os
import shutil
import tempfile

# What one test compiled, the next one and its processes don't compile again.
os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="compiled-")

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

from jaxtyping import install_import_hook

install_import_hook("lm_jax", "beartype.beartype")


def pytest_unconfigure():
    shutil.rmtree(os.environ["JAX_COMPILATION_CACHE_DIR"])
