"""Wrong shapes and kinds are errors in tests."""

import jax.numpy as jnp
import pytest
from jaxtyping import TypeCheckError

from lm_jax.kernels.windows import window_sums


def test_annotations_are_checked():
    weights, vectors = jnp.ones((3, 32)), jnp.ones((34, 5))
    assert window_sums(weights, vectors).shape == (32, 5)
    with pytest.raises(TypeCheckError, match="vectors"):
        window_sums(weights, vectors[0])
    with pytest.raises(TypeCheckError, match="weights"):
        window_sums(weights.astype(int), vectors)
