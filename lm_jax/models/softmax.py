"""Scaled dot-product attention, with its backward pass written out."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from lm_jax.models.dropout import dropout
from lm_jax.models.linear import over_rows
from lm_jax.models.part import Part
from lm_jax.models.patterns import Index, Shared

__all__ = ["Softmax"]

Cache = dict[str, Array]


def attend(
    query: Float[Array, "batch heads time dim"],
    key: Float[Array, "batch kv_heads slots dim"],
    value: Float[Array, "batch kv_heads slots dim"],
    mask: Bool[Array, "masks 1 time slots"],
    rate: float = 0.0,
    dropout_keys: Key[Array, " batch"] | None = None,
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
        rate, dropout_keys: dropout on the weights.
        causal: the mask hides all later tokens: then blocks of scores that
            nobody sees are left out.
        bias: added to the scores; one for all rows or one each.
        scale: of the scores; None is 1 / sqrt(dim).
        softcap: scores become softcap * tanh(scores / softcap) before the bias
            (Gemma Team 2024, 2).
        window: the mask hides what stands this many tokens back or more, where
            it is causal: those blocks are left out too.
    """
    kept = None
    if dropout_keys is not None and rate:
        ones = jnp.ones((*query.shape[:3], key.shape[2]), jnp.float32)
        kept = dropout(ones, rate, dropout_keys, "attention weights")
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    if not causal:
        return _mix(query, key, value, mask, kept, bias, scale, softcap)

    def block(start: int, end: int) -> Array:
        first = 0 if window is None else max(0, start + 1 - window)
        own = (..., slice(start, end), slice(first, end))
        return _mix(
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


def _row_blocks(time: int) -> list[tuple[int, int]]:
    """Cut time into at most 8 blocks, each of 128 tokens or more but the last."""
    size = max(128, -(-time // 8))
    return [(start, min(start + size, time)) for start in range(0, time, size)]


# Autodiff of the plain softmax keeps float32 weights and takes their gradient
# by products that XLA's CPU backend runs slowly. Stated as below, forward and
# backward of one layer took 5 ms instead of 20 (batch 8, 6 heads, 256 tokens,
# bfloat16, two Zen 5 cores, jax 0.12); two blocks instead of one gave 2 of them.
@functools.partial(jax.custom_vjp, nondiff_argnums=(6, 7))
def _mix(query, key, value, mask, kept, bias, scale, softcap):
    """Softmax(cap(query key^T * scale) + bias) * kept, times value."""
    return _mix_forward(query, key, value, mask, kept, bias, scale, softcap)[0]


def _mix_forward(query, key, value, mask, kept, bias, scale, softcap):
    kv_heads = key.shape[1]
    scores = jnp.einsum(
        "bhtd,bhsd->bhts",
        _grouped(query, kv_heads),
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
    scores = jnp.where(mask, scores, -1e30)
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


_mix.defvjp(_mix_forward, _mix_backward)


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


@dataclass(frozen=True)
class Softmax:
    """Attention that remembers each token (Vaswani et al. 2017)."""

    constant: ClassVar[bool] = False
    """Whether what is left of a text has one size, however long it is."""

    def problems(self, config: Any) -> Iterator[str]:
        """Say why a block of this `BlockConfig` can't mix so."""
        yield from ()

    def __call__(
        self,
        part: Part,
        x: Float[Array, "batch time width"],
        projected: tuple[Float[Array, "batch _ time dim"], ...],
        index: Index,
        shared: Shared,
        cache: Cache | None,
    ) -> tuple[Float[Array, "batch heads time dim"], Cache | None]:
        """Mix the values of the tokens that each token sees.

        With a cache, keys and values are first written into its ``shared.slots``
        and the tokens attend to the slots that the mask shows.

        Args:
            part: the attention of a block.
            x: what queries, keys and values were projected from.
            projected: query, key and value.
            index: of the layer in the stack.
            shared: what all layers share.
            cache: keys and values of the tokens before.
        """
        config = part.config
        query, key, value = projected
        if cache is not None:
            assert shared.slots is not None
            cache = {
                "key": write_slots(cache["key"], key, shared.slots),
                "value": write_slots(cache["value"], value, shared.slots),
            }
            key, value = cache["key"], cache["value"]
        near = config.attention.sees(
            shared.positions[:, :, None], shared.key_positions[:, None], index
        )
        bias = shared.bias
        if bias is None:
            bias = config.positions.bias(part, shared.positions, shared.key_positions)
        mixed = attend(
            query,
            key,
            value,
            shared.mask if near is None else shared.mask & near[:, None],
            config.dropout,
            shared.dropout_keys,
            causal=config.causal and cache is None,
            bias=bias,
            scale=config.score_scale,
            softcap=config.softcap,
            window=config.attention.reach(index),
        )
        return mixed, cache

    def empty_cache(
        self, batch: int, heads: int, slots: int, dim: int, dtype: Any
    ) -> Cache:
        """Keys and values of no token yet."""
        zeros = jnp.zeros((batch, heads, slots, dim), dtype)
        return {"key": zeros, "value": zeros}

    def kernels(self, width: int, inner: int, heads: int) -> int:
        """Kernel entries beside those of the query, key, value and output."""
        return 0

    def products(self, inner: int, dim: int, seen: float) -> float:
        """Multiplications of a token with what it sees: scores and mixed values."""
        return 2 * inner * seen


def write_slots(
    cache: Float[Array, "batch heads slots dim"],
    new: Float[Array, "batch heads time dim"],
    slots: Int[Array, "batch time"],
) -> Float[Array, "batch heads slots dim"]:
    """Write keys or values into their slots; a slot beyond the end is none."""
    rows = jnp.arange(new.shape[0])[:, None]
    # Advanced indices around a slice put their axes first.
    return cache.at[rows, :, slots].set(jnp.swapaxes(new, 1, 2), mode="drop")
