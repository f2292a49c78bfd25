"""Scaled dot-product attention, with its backward pass written out.

`attend` is the plain form; those of `attention_blocks` and `attention_tpu` keep no
weights.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from lm_jax.kernels.placement import constrain, several_devices, ways
from lm_jax.kernels.product import over_rows


class Sight(NamedTuple):
    """What a mask shows, in words: for kernels that make it themselves.

    Attributes:
        causal: whether a token sees only those up to itself.
        window: how many tokens it sees back, itself included, and on the other side
            if it is not causal; None is all.
        segments: a token sees those of its own segment; None is one for each row.
    """

    causal: bool
    window: int | None
    segments: Int[Array, "batch time"] | None

    def mask(
        self, of_queries: Int[Array, " time"], of_keys: Int[Array, " slots"]
    ) -> Bool[Array, "masks 1 time slots"]:
        """Give what some tokens see of others, by their places in the row."""
        back = of_queries[:, None] - of_keys
        seen = back >= 0 if self.causal else jnp.ones(back.shape, bool)
        if self.window is not None:
            seen &= jnp.abs(back) < self.window
        if self.segments is None:
            return seen[None, None]
        queries, keys = (self.segments[:, ids] for ids in (of_queries, of_keys))
        return (seen & (queries[:, :, None] == keys[:, None]))[:, None]


def attend(
    query: Float[Array, "batch heads time dim"],
    key: Float[Array, "batch kv_heads slots dim"],
    value: Float[Array, "batch kv_heads slots dim"],
    mask: Bool[Array, "masks 1 time slots"],
    kept: Float[Array, "batch heads time slots"] | None = None,
    causal: bool = False,
    bias: Float[Array, "biases heads time slots"] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    window: int | None = None,
) -> Float[Array, "batch heads time dim"]:
    """Softmax(query key^T / sqrt(dim)) value (Vaswani et al. 2017, eq. 1).

    Scores and softmax are float32. With fewer key heads than query heads, each
    key head serves a group of neighbouring query heads (Ainslie et al. 2023).

    Args:
        query, key, value: what attends, to what, and what it takes from there.
        mask: true where a token sees a slot; one for all rows or one each.
        kept: factor on each weight: 0 where it is dropped.
        causal: the mask hides all later tokens: then blocks of scores that
            nobody sees are left out.
        bias: added to the scores; one for all rows or one each.
        scale: of the scores; None is 1 / sqrt(dim).
        softcap: scores become softcap * tanh(scores / softcap) before the bias
            (Gemma Team 2024, 2).
        window: the mask hides what stands this many tokens back or more, where
            it is causal: those blocks are left out too.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    if ways("time", query.shape[2]) > 1:
        arrays = _parted(query, key, value, mask, kept, bias)
        return mix(*arrays, scale, softcap)
    if not causal:
        return _mix_whole((query, key, value, mask, kept, bias), scale, softcap)

    def block(start: int, end: int) -> Array:
        first = 0 if window is None else max(0, start + 1 - window)
        own = (..., slice(start, end), slice(first, end))
        return mix(
            query[:, :, start:end],
            key[:, :, first:end],
            value[:, :, first:end],
            mask[own],
            None if kept is None else kept[own],
            None if bias is None else bias[own],
            scale,
            softcap,
        )

    mixed = [block(start, end) for start, end in _row_blocks(query.shape[2])]
    return jnp.concatenate(mixed, axis=2)


def _parted(query, *arrays):
    """Part what attends over the devices that split time; gather what it attends to.

    Each has all scores of its own queries: none of them is left out.
    """
    key, value, *of_rows = arrays
    key, value = (constrain(x, "batch", "heads", None, None) for x in (key, value))
    rows = [
        None if x is None else constrain(x, "batch", "heads", "time", None)
        for x in (query, *of_rows)
    ]
    return rows[0], key, value, *rows[1:]


def _mix_whole(arrays, scale, softcap):
    """Mix all at once; one token of bfloat16 in a CPU's own way."""

    def plain(*arrays):
        return mix(*arrays, scale, softcap)

    def twice(*arrays):
        # For a row that stands alone XLA's CPU backend makes float32 copies of keys and
        # values. Two rows it multiplies with them as they are: 0.8 ms against 1.9
        # (batch 8, 12 heads, 255 slots, jax 0.12, one Sapphire Rapids core).
        query, key, value, *of_rows = arrays
        query, *of_rows = (
            None if part is None else jnp.repeat(part, 2, axis=2)
            for part in (query, *of_rows)
        )
        return plain(query, key, value, *of_rows)[:, :, :1]

    query, key = arrays[:2]
    alone = query.shape[1:3] == (key.shape[1], 1) and query.dtype == jnp.bfloat16
    if not alone or several_devices():
        return plain(*arrays)
    return jax.lax.platform_dependent(*arrays, cpu=twice, default=plain)


def weights_of(
    query: Float[Array, "batch heads time dim"],
    key: Float[Array, "batch kv_heads slots dim"],
    mask: Bool[Array, "masks 1 time slots"],
    bias: Float[Array, "biases heads time slots"] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
) -> Float[Array, "batch heads time slots"]:
    """Give the weights that `attend` mixes values by, to be looked at.

    Args:
        query, key, mask, bias, scale, softcap: as of `attend`.

    Returns:
        Those of a token add up to 1; 0 is what it doesn't see.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores, _ = _scores(query, key, mask, bias, scale, softcap)
    return jax.nn.softmax(scores, where=jnp.broadcast_to(mask, scores.shape))


def _row_blocks(time: int) -> list[tuple[int, int]]:
    """Cut time into at most 8 blocks, each of 128 tokens or more but the last."""
    size = max(128, -(-time // 8))
    return [(start, min(start + size, time)) for start in range(0, time, size)]


# Autodiff of the plain softmax keeps float32 weights and takes their gradient
# by products that XLA's CPU backend runs slowly. Stated as below, forward and
# backward of one layer took 5 ms instead of 20 (batch 8, 6 heads, 256 tokens,
# bfloat16, two Zen 5 cores, jax 0.12); two blocks instead of one gave 2 of them.
@functools.partial(jax.custom_vjp, nondiff_argnums=(6, 7))
def mix(
    query: Float[Array, "batch heads time dim"],
    key: Float[Array, "batch kv_heads slots dim"],
    value: Float[Array, "batch kv_heads slots dim"],
    mask: Bool[Array, "masks 1 time slots"],
    kept: Float[Array, "batch heads time slots"] | None,
    bias: Float[Array, "biases heads time slots"] | None,
    scale: float,
    softcap: float | None,
) -> Float[Array, "batch heads time dim"]:
    """Softmax(cap(query key^T * scale) + bias) * kept, times value; see `attend`."""
    return _mix_forward(query, key, value, mask, kept, bias, scale, softcap)[0]


def _mix_forward(query, key, value, mask, kept, bias, scale, softcap):
    kv_heads = key.shape[1]
    scores, bent = _scores(query, key, mask, bias, scale, softcap)
    # The division by the total waits until after the product with the values:
    # there are fewer of them than of weights (Dao et al. 2022).
    weights = jnp.exp(scores - scores.max(-1, keepdims=True)).astype(value.dtype)
    total = weights.sum(-1, keepdims=True, dtype=jnp.float32)
    mixed = jnp.einsum(
        "bhts,bhsd->bhtd",
        _grouped(_times(weights, kept), kv_heads),
        value,
        preferred_element_type=jnp.float32,
    )
    mixed = (mixed.reshape(query.shape) / total).astype(query.dtype)
    return mixed, (query, key, value, mask, kept, bias, bent, weights, total, mixed)


def _scores(query, key, mask, bias, scale, softcap):
    """Give what softmax is taken of, and what the cap bent."""
    scores = jnp.einsum(
        "bhtd,bhsd->bhts",
        _grouped(query, key.shape[1]),
        key,
        preferred_element_type=jnp.float32,
    )
    scores = scores.reshape(*query.shape[:3], key.shape[2]) * scale
    bent = None
    if softcap is not None:
        bent = jnp.tanh(scores / softcap)
        scores = softcap * bent
    if bias is not None:
        scores = scores + bias
    return jnp.where(mask, scores, -1e30), bent


def _mix_backward(scale, softcap, saved, gradient):
    """The backward pass of FlashAttention (Dao et al. 2022, B.4), in one block."""
    query, key, value, mask, kept, bias, bent, weights, total, mixed = saved
    kv_heads = key.shape[1]
    gradient = gradient.astype(jnp.float32) / total
    inner = (gradient * mixed.astype(jnp.float32)).sum(-1, keepdims=True)
    gradient = _grouped(gradient.astype(query.dtype), kv_heads)
    grad_weights = jnp.einsum(
        "bhtd,bhsd->bhts", gradient, value, preferred_element_type=jnp.float32
    )
    grad_weights = _times(grad_weights.reshape(weights.shape), kept)
    grad_scores = weights * (grad_weights - inner)
    grad_scores = jnp.where(mask, grad_scores, 0)  # for rows that see nothing
    grad_bias = None if bias is None else _over_shared_rows(grad_scores, bias)
    if bent is not None:
        grad_scores = grad_scores * (1 - jnp.square(bent))
    grad_scores = _grouped((grad_scores * scale).astype(query.dtype), kv_heads)
    grad_query = jnp.einsum("bhts,bhsd->bhtd", grad_scores, key)
    grad_key = over_rows(grad_scores, _grouped(query, kv_heads))
    grad_value = over_rows(_grouped(_times(weights, kept), kv_heads), gradient)
    return grad_query.reshape(query.shape), grad_key, grad_value, None, None, grad_bias


mix.defvjp(_mix_forward, _mix_backward)


def _over_shared_rows(gradient: Array, bias: Array) -> Array:
    """Sum over the rows that share one bias."""
    if bias.shape[0] != gradient.shape[0]:
        gradient = gradient.sum(0, keepdims=True)
    return gradient.astype(bias.dtype)


def _times(weights: Array, kept: Array | None) -> Array:
    return weights if kept is None else (weights * kept).astype(weights.dtype)


def _grouped(x: Array, kv_heads: int) -> Array:
    """Let each key head take the queries of its group as more rows."""
    return x.reshape(x.shape[0], kv_heads, -1, x.shape[-1])
