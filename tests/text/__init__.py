"""Texts that a machine may lack."""

import pytest

from lm_jax.text.known import KNOWN


def needs(source):
    """Skip a test where a corpus that may not be shipped isn't there."""
    root = KNOWN[source].root
    return pytest.mark.skipif(
        root is None or not root.is_dir(),
        reason=f"{source} may not be shipped; set LM_JAX_DATA to a folder of it",
    )
