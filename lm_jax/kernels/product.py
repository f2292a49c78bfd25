"""Matrix products, written for each backend."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint
from jaxtyping import Array, Float

from lm_jax.kernels.placement import several_devices

Dtype = Any


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def product(
    x: Float[Array, "*batch k"], kernel: Float[Array, "k n"], result: Dtype = None
) -> Float[Array, "*batch n"]:
    """Multiply rows by a matrix: ``x @ kernel``.

    The gradient is that of ``x @ kernel``. Its two products are written out
    because XLA's CPU backend runs the same contraction at very different
    speeds depending on how it is stated; elsewhere the plain form stays.

    Args:
        x, kernel: of one type.
        result: the type that sums are given in, as for logits; None is that type.
    """
    times = functools.partial(_times, result=result)
    row = functools.partial(_row_times_cpu, result=result)
    rows = _rows(x)
    y = _by_row(rows, kernel, kernel.shape[0], row, times)
    return _unrows(y, x)


def _times(x, kernel, result):
    return jnp.matmul(x, kernel, preferred_element_type=result)


def _by_row(x, matrix, inputs, row_cpu, otherwise):
    """Multiply in a CPU's way for one row of bfloat16, or otherwise."""
    one = x.dtype == jnp.bfloat16 and x.size == inputs and inputs % LANES == 0
    if not one or several_devices():
        return otherwise(x, matrix)

    def tied(x, matrix):
        # Else the compiler widens the matrix ahead of the loop that decodes, and each
        # token reads twice as much.
        return row_cpu(*jax.lax.optimization_barrier((x, matrix)))

    return jax.lax.platform_dependent(x, matrix, cpu=tied, default=otherwise)


# XLA's CPU backend has no product of a bfloat16 row: it makes a float32 copy of the
# matrix and reads that. Sums of so many terms, written out, become one loop that reads
# the matrix as it is: 0.45 ms in place of 1.83 (768 x 3072, jax 0.12, one Sapphire
# Rapids core).
LANES, TERMS = 16, 64


def _row_times_cpu(x, kernel, result):
    """Multiply (1, k) by (k, n): sums over 16 blocks of k, then over a block."""
    x = x.astype(jnp.float32).reshape(LANES, -1, 1)
    blocks = kernel.reshape(LANES, -1, kernel.shape[1])
    sums = sum(
        a * block.astype(jnp.float32) for a, block in zip(x, blocks, strict=True)
    )
    sums = jax.lax.optimization_barrier(sums)  # one loop for both would be slow
    return sums.sum(0, keepdims=True).astype(result or kernel.dtype)


def _row_times_transpose_cpu(x, matrix, result):
    """Multiply (1, k) by the transpose of (n, k): sums by lanes, then over those."""
    lanes = LANES
    while x.shape[1] > TERMS * lanes and x.shape[1] % (2 * lanes) == 0:
        lanes *= 2
    x = x.astype(jnp.float32).reshape(-1, lanes)
    parts = jnp.split(matrix, len(x), axis=1)
    sums = sum(a * part.astype(jnp.float32) for a, part in zip(x, parts, strict=True))
    sums = jax.lax.optimization_barrier(sums)
    return sums.sum(1)[None].astype(result or matrix.dtype)


def _rows(x: Array) -> Array:
    # Axes that lie on several devices are not one axis.
    return x if several_devices() else x.reshape(-1, x.shape[-1])


def _unrows(y: Array, like: Array) -> Array:
    return y.reshape(*like.shape[:-1], y.shape[-1])


def _product_forward(x, kernel, result):
    return product(x, kernel, result), (x, kernel)


def _product_backward(result, saved, gradient):
    x, kernel = saved
    gradient = gradient if result is None else gradient.astype(x.dtype)
    rows = _rows(gradient)
    last = ((rows.ndim - 1,), (1,)), ((), ())
    grad_x = _unrows(jax.lax.dot_general(rows, kernel, last), x)
    grad_kernel = jax.lax.platform_dependent(
        x, gradient, cpu=_weight_gradient_cpu, default=_weight_gradient
    )
    return grad_x.astype(x.dtype), grad_kernel.astype(kernel.dtype)


def _weight_gradient(x, gradient):
    return jnp.einsum("...k,...n->kn", _rows(x), _rows(gradient))


def _weight_gradient_cpu(x, gradient):
    # bfloat16 with batch and time kept as two axes: 244 ms a step against 318
    # flattened (10.7M parameters, jax 0.12, two Zen 5 cores). In float32 the
    # flat form is the faster one: 407 against 459.
    if x.dtype == jnp.bfloat16 and x.ndim == 3:
        return jnp.einsum("btk,btn->kn", x, gradient)
    return _weight_gradient(x, gradient)


product.defvjp(_product_forward, _product_backward)


def product_of_transpose(
    x: Float[Array, "batch time k"], matrix: Float[Array, "n k"], result: Dtype = None
) -> Float[Array, "batch time n"]:
    """Multiply rows by the transpose of a matrix: ``x @ matrix.T``; see `product`."""
    if x.shape[1] == 1:  # decoding: laying the matrix out costs more than it gives
        return _token_times_transpose(x, matrix, result)
    kernel = jax.lax.platform_dependent(
        matrix, cpu=_transposed_cpu, default=jnp.transpose
    )
    return product(x, kernel, result)


def _token_times_transpose(x, matrix, result):
    row = functools.partial(_row_times_transpose_cpu, result=result)
    if several_devices():
        return _times_transpose(x, matrix, result)
    times = functools.partial(_times_transpose, result=result)
    return _unrows(_by_row(_rows(x), matrix, matrix.shape[1], row, times), x)


def _times_transpose(x, matrix, result):
    # Said in one, or XLA's CPU backend lays the transpose out ahead of a loop.
    last = ((x.ndim - 1,), (1,)), ((), ())
    return jax.lax.dot_general(x, matrix, last, preferred_element_type=result)


def _transposed_cpu(matrix):
    # Left to itself, XLA's CPU backend reads the matrix against its grain in all
    # three products, in float32: logits of 10,000 words, their loss and gradient
    # took 145 ms, and take 95 (width 200, 700 tokens, bfloat16, jax 0.12, one
    # Sapphire Rapids core).
    return with_layout_constraint(matrix.T, Layout((0, 1)))


def over_rows(
    x: Float[Array, "*batch rows k"], y: Float[Array, "*batch rows n"]
) -> Float[Array, "*batch k n"]:
    """Multiply the transpose of each matrix by another: ``x^T @ y``."""
    return jax.lax.platform_dependent(x, y, cpu=_over_rows_cpu, default=_over_rows)


def _over_rows(x, y):
    return jnp.einsum("...mk,...mn->...kn", x, y)


def _over_rows_cpu(x, y):
    # XLA's CPU backend turns this product into a float32 one that reads x
    # against its grain; with the rows as two axes it transposes x first: 0.9 ms
    # against 3.1 (48 matrices of 256 x 256 and 256 x 64, bfloat16, jax 0.12, two
    # Zen 5 cores). In float32 there is nothing to gain.
    if x.dtype == jnp.bfloat16 and x.shape[-2] % 2 == 0:
        x, y = (a.reshape(*a.shape[:-2], 2, -1, a.shape[-1]) for a in (x, y))
        return jnp.einsum("...umk,...umn->...kn", x, y)
    return _over_rows(x, y)
