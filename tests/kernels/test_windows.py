"""Sums and products over windows, and their gradients, are those of a plain form."""

import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.kernels.windows import seen_from, window_products, window_sums
from tests.first import with_gradients

WIDTH = 4


def plain_sums(weights, vectors):
    around, words = weights.shape
    seen = vectors[jnp.arange(words)[:, None] + jnp.arange(around)]
    return jnp.einsum("ki,ikw->iw", weights, seen)


def plain_products(outputs, vectors):
    around = len(vectors) - len(outputs) + 1
    seen = vectors[jnp.arange(len(outputs))[:, None] + jnp.arange(around)]
    return jnp.einsum("iw,ikw->ki", outputs, seen)


def made(words, around):
    draw = np.random.default_rng(0)
    shapes = (around, words), (words, WIDTH), (words + around - 1, WIDTH)
    return [jnp.array(draw.normal(size=shape), "f4") for shape in shapes]


@pytest.mark.parametrize(("words", "around"), [(3, 3), (32, 81), (70, 11), (1, 1)])
def test_windows_equal_the_plain_form_and_so_do_gradients(words, around):
    weights, outputs, vectors = made(words, around)
    for found, plain, first, up in (
        (window_sums, plain_sums, weights, outputs),
        (window_products, plain_products, outputs, weights),
    ):
        given = up, first, vectors
        wanted = with_gradients(plain, *given)
        for a, b in zip(with_gradients(found, *given), wanted, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


def test_who_sees_is_turned_round():
    weights = made(5, 3)[0]
    turned = np.zeros((3, 7), np.float32)
    for k in range(3):
        for i in range(5):
            turned[2 - k, i + k] = weights[k, i]
    np.testing.assert_array_equal(seen_from(weights), turned)
