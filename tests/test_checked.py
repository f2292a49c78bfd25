"""Wrong shapes and kinds are errors in tests."""

import jax.numpy as jnp
import pytest
from jaxtyping import TypeCheckError

from lm_jax.objectives.word_vectors import banded_sums


def test_annotations_are_checked():
    weights, around = jnp.ones((2, 32, 3)), jnp.ones((2, 1, 34, 5))
    assert banded_sums(weights, around).shape == (2, 32, 5)
    with pytest.raises(TypeCheckError, match="around"):
        banded_sums(weights, around[:1])
    with pytest.raises(TypeCheckError, match="weights"):
        banded_sums("weights", around)
