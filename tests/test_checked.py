"""Wrong shapes and kinds are errors in tests."""

import jax.numpy as jnp
import pytest
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import TypeCheckError

from lm_jax.kernels.loss import pieces_of
from lm_jax.kernels.windows import window_sums
from lm_jax.optimizers import SGD


def test_annotations_are_checked():
    weights, vectors = jnp.ones((3, 32)), jnp.ones((34, 5))
    assert window_sums(weights, vectors).shape == (32, 5)
    with pytest.raises(TypeCheckError, match="vectors"):
        window_sums(weights, vectors[0])
    with pytest.raises(TypeCheckError, match="weights"):
        window_sums(weights.astype(int), vectors)


def test_so_are_those_without_arrays_and_fields():
    with pytest.raises(BeartypeCallHintViolation, match="time"):
        pieces_of(8, "6", 100)
    with pytest.raises(BeartypeCallHintViolation, match="momentum"):
        SGD(momentum="high")
