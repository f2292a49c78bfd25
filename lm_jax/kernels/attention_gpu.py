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


# Entries of two bytes each: 4 GiB.
MASK = 2**31


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
    time = query.shape[2]
    if ways("time", time) > 1:
        return "cuDNN attends from whole texts, and each lies on several devices"
    masks = 1 if sight.segments is None else len(query) // ways("batch", len(query))
    masks *= 1 if bias is None else query.shape[1]  # it is added to the mask
    if _masked(sight) and masks * time**2 > MASK:
        return f"cuDNN would take {masks} masks of {time} x {time} tokens"
    if query.shape[3] % 8 or query.shape[3] > 128:
        return f"cuDNN has heads of 8, 16, ... 128, and they are {query.shape[3]} wide"
    if bias is not None and len(bias) > 1:
        return "cuDNN adds to the scores of all texts the same, and these differ"
    if (bias is not None or _masked(sight)) and time % 2:
        return f"cuDNN masks and adds to scores of an even context, not of {time}"
    return None


def _masked(sight: Sight) -> bool:
    """Whether a mask is made, of what cuDNN has no words for."""
    both_sides = sight.window is not None and not sight.causal
    return both_sides or sight.segments is not None


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

    Memory is linear in time, but for the bias, and for a mask where texts are packed
    into a row or tokens see so many on both sides. Arguments are those of
    `attend_long`; there is no softcap.

    Args:
        bias: added to the scores of all rows, in the type of the queries; it has a
            gradient.
    """
    window = (sight.window - 1, 0) if sight.window and sight.causal else None
    bias = None if bias is None else bias.astype(query.dtype)
    more = {"bias": bias, "segments": sight.segments}
    given = {name: each for name, each in more.items() if each is not None}

    def of_rows(query, key, value, *more):
        beside = dict(zip(given, more, strict=True))
        own = sight._replace(segments=beside.get("segments"))
        places = jnp.arange(query.shape[2])
        mixed = jax.nn.dot_product_attention(
            *(jnp.swapaxes(array, 1, 2) for array in (query, key, value)),
            bias=beside.get("bias"),
            mask=own.mask(places, places) if _masked(sight) else None,
            scale=scale,
            is_causal=sight.causal,
            local_window_size=window,
            implementation="cudnn",
        )
        return jnp.swapaxes(mixed, 1, 2)

    run = on_each_device(of_rows, query.shape[1], key.shape[1])
    return run(query, key, value, *given.values())
