"""The data room: text to tokens to batches."""

import pytest
from hypothesis import HealthCheck, settings

from lm_jax.data.known import KNOWN

# A busy machine is no failure.
quick = settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def needs(source):
    """Skip a test where a corpus that may not be shipped isn't there."""
    root = KNOWN[source].root
    return pytest.mark.skipif(
        root is None or not root.is_dir(),
        reason=f"{source} may not be shipped; set LM_JAX_DATA to a folder of it",
    )
