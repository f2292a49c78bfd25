"""Rows that are sorted by their expert, multiplied by a kernel of TPUs (megablox).

A TPU's compiler has a kernel for ragged products on a v5p alone: for a v5e and a v6e it
makes products with all experts of them.
"""

import contextlib
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

LANES = 128
# Bytes of an expert's kernel, or of sums, that are computed from at once: with what is
# fetched meanwhile, they fit into the 16 MiB that a kernel may take of a core's memory.
ROOM = 4 * 2**20


def lacks(block: int, inputs: int, outputs: int) -> bool:
    """Whether the kernel can't multiply so.

    Args:
        block: rows of one expert that stand together.
        inputs, outputs: the axes of an expert's kernel.
    """
    return block % 16 > 0 or inputs % LANES > 0 or outputs % LANES > 0


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def grouped(
    rows: Float[Array, "rows k"],
    kernel: Float[Array, "experts k n"],
    sizes: Int[Array, " experts"],
    block: int,
    interpret: bool = False,
) -> Float[Array, "rows n"]:
    """Multiply each row by its expert's kernel; rows of no expert give zeros.

    Gale et al. 2022, "MegaBlocks", section 4, by jax's kernels for TPUs.

    Args:
        rows: sorted by their expert, each from a block's beginning.
        kernel: of each expert.
        sizes: rows of each expert, multiples of a block.
        block: how many rows are computed at once.
        interpret: compute step by step, on any platform: for tests.
    """
    return _known(_product(rows, kernel, sizes, block, False, interpret), sizes)


def _known(rows: Array, sizes: Array) -> Array:
    """What the kernel wrote: rows of no expert are whatever lay there before."""
    return jnp.where(jnp.arange(len(rows))[:, None] < sizes.sum(), rows, 0)


def _product(rows, kernel, sizes, block, turned, interpret):
    inputs, outputs = kernel.shape[1:][:: -1 if turned else 1]
    size = kernel.dtype.itemsize
    k = _part(inputs, ROOM // (2 * LANES * size))
    n = _part(outputs, min(32 * LANES, ROOM // (k * size)))
    with _precision(rows):
        return _kernels()[0](
            rows,
            kernel,
            sizes,
            rows.dtype,
            (block, k, n),
            transpose_rhs=turned,
            interpret=interpret,
        )


def _forward(rows, kernel, sizes, block, interpret):
    y = grouped(rows, kernel, sizes, block, interpret)
    return y, (rows, kernel, sizes)


def _backward(block, interpret, saved, gradient):
    rows, kernel, sizes = saved
    grad_rows = _product(gradient, kernel, sizes, block, True, interpret)
    k = _part(rows.shape[1], 8 * LANES)
    n = _part(gradient.shape[1], ROOM // (4 * k))
    with _precision(rows):
        grad_kernel = _kernels()[1](
            rows.T, gradient, sizes, kernel.dtype, (block, k, n), interpret=interpret
        )
    return _known(grad_rows, sizes), grad_kernel, None


grouped.defvjp(_forward, _backward)


def _part(size: int, most: int) -> int:
    """The largest part of an axis, in whole lanes, that is no longer than most."""
    parts = (n for n in range(LANES, size, LANES) if size % n == 0 and n <= most)
    return size if size <= most else max(parts, default=size)


def _precision(rows: Array) -> Any:
    """The compiler of kernels refuses more for bfloat16, which has no more."""
    low = rows.dtype == jnp.bfloat16
    return jax.default_matmul_precision("default") if low else contextlib.nullcontext()


def _kernels() -> Any:
    """The library's, which take a second to import that only TPUs shall wait."""
    from jax.experimental.pallas.ops.tpu.megablox.gmm import gmm, tgmm

    return gmm, tgmm
