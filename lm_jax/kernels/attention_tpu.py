"""Attention on TPUs: splash attention, which keeps no weights."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lm_jax.kernels.attention import Sight
from lm_jax.kernels.placement import first_of, on_each_device, ways

LANES = 128
BLOCK = 512
# Products in each of splash attention's kernels: scores and mixed values; scores again,
# the gradients of weights and queries; scores again, those of weights, values and keys.
PRODUCTS = {"splash_mha_fwd": 2, "splash_mha_dq": 3, "splash_mha_dkv": 4}


def lacks(
    query: Array, key: Array, sight: Sight, softcap: float | None, bias: Array | None
) -> str | None:
    """Say why the kernel can't attend so, or None; see `attend_splash`."""
    time = query.shape[2]
    each = time // ways("time", time)
    if each % LANES:
        part = "" if each == time else f", of which a device has {each}"
        return f"{LANES} doesn't divide a context of {time} tokens{part}"
    if query.shape[3] % (LANES // 2):
        return f"{LANES // 2} doesn't divide heads of width {query.shape[3]}"
    return None if bias is None else "splash has no positions that add to the scores"


def flops(name: str, shapes: list[tuple[int, ...]]) -> float | None:
    """Count the operations of a kernel in which each token sees all; None of others.

    Args:
        name: as it is called in the compiled program.
        shapes: of its operands in floating point; the first two are the queries and
            the keys, (batch, heads, time, dim), or (heads, time, dim) of a single row.
    """
    products = next((n for each, n in PRODUCTS.items() if name.startswith(each)), None)
    if products is None or len(shapes) < 2:
        return None
    query, key = shapes[:2]
    return 2.0 * products * math.prod(query) * key[-2]


def attend_splash(
    query: Float[Array, "batch heads time dim"],
    key: Float[Array, "batch kv_heads time dim"],
    value: Float[Array, "batch kv_heads time dim"],
    sight: Sight,
    scale: float,
    softcap: float | None = None,
    interpret: bool = False,
) -> Float[Array, "batch heads time dim"]:
    """Attend by blocks that are made again in the backward pass.

    Memory is linear in time. The other arguments are those of `attend_long`.

    Args:
        interpret: compute step by step, on any platform: for tests.
    """
    heads, time = query.shape[1:3]
    own = heads // ways("heads", key.shape[1])
    kernel = _kernel(own, time, sight, softcap, interpret)
    arrays = [query * jnp.asarray(scale, query.dtype), key, value]
    if sight.segments is not None:
        arrays.append(sight.segments)

    def of_part(kernel, query, key, value, *segments):
        ids = [_splash().SegmentIds(_own(query, each), each) for each in segments]
        return jax.vmap(kernel)(query, key, value, *ids)

    if query.dtype == jnp.bfloat16:
        of_part = _at_default_precision(of_part)
    return on_each_device(of_part, heads, key.shape[1])(kernel, *arrays)


def _own(query: Array, segments: Array) -> Array:
    """Give the segments of queries that are a part of a row."""
    size = query.shape[2]
    if size == segments.shape[1]:
        return segments
    first = first_of("time", size)
    return jax.lax.dynamic_slice_in_dim(segments, first, size, axis=1)


def _splash() -> Any:
    """The library, which takes a second to import that only TPUs shall wait."""
    from jax.experimental.pallas.ops.tpu import splash_attention

    return splash_attention


def _kernel(
    heads: int, time: int, sight: Sight, softcap: float | None, interpret: bool
) -> Callable:
    """The kernel of one row, for all of its heads, in as many parts as time has."""
    splash, shape, window = _splash(), (time, time), sight.window
    parts = ways("time", time)
    if window is not None:
        near = (window - 1, 0 if sight.causal else window - 1)
        mask: Any = splash.LocalMask(shape, near, 0)
    else:
        mask = splash.CausalMask(shape) if sight.causal else splash.FullMask(shape)
    block = next(b for b in (BLOCK, BLOCK // 2, LANES) if time // parts % b == 0)
    sizes = splash.BlockSizes(
        block_q=block,
        block_kv=block,
        block_q_dkv=block,
        block_kv_dkv=block,
        block_q_dq=block,
        block_kv_dq=block,
    )
    return splash.make_splash_mha(
        splash.MultiHeadMask([mask] * heads),
        block_sizes=sizes,
        attn_logits_soft_cap=softcap,
        head_shards=1,
        q_seq_shards=parts,
        # What it would need again is kept with the mixed values; see `Remat`.
        residual_checkpoint_name="mixed",
        interpret=interpret,
    )


def _at_default_precision(function: Callable) -> Callable:
    """Trace without a higher precision, forward and backward.

    The compiler of kernels refuses one for products of bfloat16, which have no more.
    """
    precision = functools.partial(jax.default_matmul_precision, "default")

    @jax.custom_vjp
    def run(*arrays):
        with precision():
            return function(*arrays)

    def forward(*arrays):
        with precision():
            return jax.vjp(function, *arrays)

    def backward(pull, gradient):
        with precision():
            return pull(gradient)

    run.defvjp(forward, backward)
    return run
