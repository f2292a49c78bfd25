"""Shapes are checked in every test: jaxtyping's annotations by beartype."""

import os

# Eight virtual devices, before jax starts.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

from jaxtyping import install_import_hook

install_import_hook("lm_jax", "beartype.beartype")
