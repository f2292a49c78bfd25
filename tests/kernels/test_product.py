"""The product written for each backend is still the plain product."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_jax.kernels.product import over_rows, product, product_of_transpose
from tests.properties import slow_but

LEADING = [(), (6,), (2, 6), (2, 3, 4)]
TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2}


def draws(*shapes, seed=0, dtype="float32"):
    keys = jax.random.split(jax.random.key(seed), len(shapes))
    return [
        jax.random.normal(k, s).astype(dtype) for k, s in zip(keys, shapes, strict=True)
    ]


def close(found, expected, dtype):
    """Equal up to the rounding of the type, relative to the largest entry."""
    assert found.dtype == jnp.dtype(dtype)
    found, expected = np.float32(found), np.float32(expected)
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(found, expected, atol=TOLERANCE[dtype] * scale, rtol=0)


def value_and_gradients(multiply, x, kernel, weights):
    y, pull = jax.vjp(multiply, x, kernel)
    return y, *pull(weights)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("leading", LEADING)
@pytest.mark.parametrize("compiled", [False, True])
def test_the_product_and_its_gradients_are_the_plain_ones(leading, dtype, compiled):
    x, kernel, weights = draws((*leading, 8), (8, 10), (*leading, 10), dtype=dtype)
    run = (
        jax.jit(value_and_gradients, static_argnums=0)
        if compiled
        else (value_and_gradients)
    )
    found = run(product, x, kernel, weights)
    exact = (np.float32(a) for a in (x, kernel, weights))
    expected = value_and_gradients(jnp.matmul, *exact)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        close(one, other, dtype)


@pytest.mark.parametrize("dtype", slow_but(["float32", "bfloat16"], "bfloat16"))
@pytest.mark.parametrize("time", [1, 5])
def test_the_product_of_a_transpose_is_the_plain_one(time, dtype):
    shapes = (2, time, 8), (10, 8), (2, time, 10)
    x, matrix, weights = draws(*shapes, dtype=dtype)
    run = jax.jit(value_and_gradients, static_argnums=0)
    found = run(product_of_transpose, x, matrix, weights)
    exact = (np.float32(a) for a in (x, matrix, weights))
    expected = value_and_gradients(lambda x, m: x @ m.T, *exact)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        close(one, other, dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("leading", LEADING[:3])
def test_a_batch_of_products_by_vmap_is_one_after_the_other(leading, dtype):
    x, kernel, weights = draws(
        (3, *leading, 8), (3, 8, 10), (3, *leading, 10), dtype=dtype
    )

    def run(x, kernel, weights):
        return value_and_gradients(product, x, kernel, weights)

    found = jax.jit(jax.vmap(run))(x, kernel, weights)
    for row in range(3):
        expected = run(x[row], kernel[row], weights[row])
        for one, other in zip(found, expected, strict=True):
            close(one[row], other, dtype)


@pytest.mark.slow
@settings(max_examples=25)
@given(
    batch=st.lists(st.integers(1, 3), max_size=3),
    rows=st.integers(1, 7),
    k=st.integers(1, 5),
    n=st.integers(1, 5),
    dtype=st.sampled_from(["float32", "bfloat16"]),
)
def test_over_rows_is_the_transpose_times_the_other(batch, rows, k, n, dtype):
    x, y = draws((*batch, rows, k), (*batch, rows, n), dtype=dtype)
    expected = np.swapaxes(np.float32(x), -1, -2) @ np.float32(y)
    close(over_rows(x, y), expected, dtype)


ROW = [(64,), (1, 64), (1, 1, 64)]


@pytest.mark.parametrize("leading", ROW, ids=str)
def test_one_row_of_bfloat16_is_multiplied_as_exactly_as_many(leading):
    x, kernel, matrix = draws(leading, (64, 24), (24, 64), dtype="bfloat16")
    exact = np.float32(x) @ np.float32(kernel)
    found = jax.jit(product, static_argnums=2)(x, kernel, jnp.float32)
    assert found.shape == exact.shape
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-5)
    if len(leading) == 3:
        exact = np.float32(x) @ np.float32(matrix).T
        found = jax.jit(product_of_transpose, static_argnums=2)(x, matrix, jnp.float32)
        np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-5)


def test_a_gradient_through_the_logits_of_one_row():
    x, matrix, weights = draws((1, 1, 64), (24, 64), (1, 1, 24), dtype="bfloat16")
    found = value_and_gradients(product_of_transpose, x, matrix, weights)
    exact = (np.float32(a) for a in (x, matrix, weights))
    expected = value_and_gradients(lambda a, b: a @ b.T, *exact)
    for one, other in zip(found, expected, strict=True):
        close(one, other, "bfloat16")


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="of the CPU's own form")
@pytest.mark.parametrize("rows", [1, 8])
@pytest.mark.parametrize("multiply", [product, product_of_transpose])
def test_a_loop_reads_a_matrix_of_bfloat16_as_it_is(multiply, rows):
    x, matrix = draws((rows, 1, 128), (128, 128), dtype="bfloat16")

    def steps(x, matrix):
        return jax.lax.fori_loop(0, 9, lambda _, x: multiply(x, matrix), x)

    compiled = jax.jit(steps).lower(x, matrix).compile()
    # No copy of it, least of all one of float32.
    assert compiled.memory_analysis().temp_size_in_bytes < 2 * matrix.size
