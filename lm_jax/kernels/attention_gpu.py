"""Attention on GPUs: cuDNN's, which keeps no weights.

Compiled for an H100 (jax 0.12), and not run on one yet.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lm_jax.kernels.attention import Sight
from lm_jax.kernels.placement import on_each_device, ways

# Products in cuDNN's calls, as in `attention_tpu`: the scores and the mixed values; the
# scores again, and the gradients of weights, values, keys and queries.
PRODUCTS = {
    "__cudnn$fmhaSoftmax": 2,
    "__cudnn$fmhaScaleBiasSoftmax": 2,
    "__cudnn$fmhaSoftmaxBackward": 5,
    "__cudnn$fmhaScaleBiasSoftmaxBackward": 5,
}


def flops(name: str, shapes: list[tuple[int, ...]]) -> float | None:
    """Count the operations of a call in which each token sees all; None of others.

    Args:
        name: as it is called in the compiled program.
        shapes: of its operands in floating point; the first two are the queries and
            the keys, (batch, time, heads, dim).
    """
    if name not in PRODUCTS or len(shapes) < 2:
        return None
    query, key = shapes[:2]
    return 2.0 * PRODUCTS[name] * math.prod(query) * key[1]


def lacks(
    query: Array, key: Array, sight: Sight, softcap: float | None, bias: Array | None
) -> str | None:
    """Say why the kernel can't attend so, or None; see `attend_cudnn`."""
    if query.dtype not in (jnp.bfloat16, jnp.float16):
        return f"cuDNN attends in bfloat16, and dtype is {query.dtype}"
    if softcap is not None:
        return "cuDNN has no softcap of scores"
    if sight.segments is not None:
        return "cuDNN sees no texts apart that are packed into a row"
    if sight.window is not None and not sight.causal:
        return "cuDNN has windows for what is causal alone"
    if ways("time", query.shape[2]) > 1:
        return "cuDNN attends from whole texts, and each lies on several devices"
    if query.shape[3] % 8 or query.shape[3] > 128:
        return f"cuDNN has heads of 8, 16, ... 128, and they are {query.shape[3]} wide"
    if bias is not None and len(bias) > 1:
        return "cuDNN adds to the scores of all texts the same, and these differ"
    if bias is not None and query.shape[2] % 2:
        return f"cuDNN adds to scores of an even context, not of {query.shape[2]}"
    return None


def attend_cudnn(
    query: Float[Array, "batch heads time dim"],
    key: Float[Array, "batch kv_heads time dim"],
    value: Float[Array, "batch kv_heads time dim"],
    sight: Sight,
    scale: float,
    softcap: float | None = None,
    bias: Float[Array, "1 heads time time"] | None = None,
) -> Float[Array, "batch heads time dim"]:
    """Attend by blocks that are made again in the backward pass.

    Memory is linear in time, but for the bias. Arguments are those of `attend_long`;
    there is no softcap.

    Args:
        bias: added to the scores of all rows, in the type of the queries; it has a
            gradient.
    """
    window = None if sight.window is None else (sight.window - 1, 0)
    added = () if bias is None else (bias.astype(query.dtype),)

    def of_rows(query, key, value, *bias):
        mixed = jax.nn.dot_product_attention(
            *(jnp.swapaxes(array, 1, 2) for array in (query, key, value)),
            bias=bias[0] if bias else None,
            scale=scale,
            is_causal=sight.causal,
            local_window_size=window,
            implementation="cudnn",
        )
        return jnp.swapaxes(mixed, 1, 2)

    run = on_each_device(of_rows, query.shape[1], key.shape[1])
    return run(query, key, value, *added)
