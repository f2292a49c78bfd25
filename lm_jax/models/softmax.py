"""Scaled dot-product attention, with its backward pass written out."""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from lm_jax.models.dropout import dropout
from lm_jax.models.linear import over_rows
from lm_jax.models.patterns import Index, Seen

Memory = dict[str, Array]


def attend(
    query: Float[Array, "batch heads time dim"],
    key: Float[Array, "batch kv_heads slots dim"],
    value: Float[Array, "batch kv_heads slots dim"],
    mask: Bool[Array, "masks 1 time slots"],
    rate: float = 0.0,
    noise: Key[Array, " batch"] | None = None,
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
        rate, noise: dropout on the weights.
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
    if noise is not None and rate:
        ones = jnp.ones((*query.shape[:3], key.shape[2]), jnp.float32)
        kept = dropout(ones, rate, noise, "attention weights")
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

    def __call__(
        self,
        layer: Any,
        x: Float[Array, "batch time width"],
        projected: tuple[Float[Array, "batch _ time dim"], ...],
        index: Index,
        seen: Seen,
        memory: Memory | None,
    ) -> tuple[Float[Array, "batch heads time dim"], Memory | None]:
        """Mix the values of the tokens that each token sees.

        With a memory, keys and values are first written into the slots of
        ``seen.places`` and the tokens attend to the slots that the mask shows.

        Args:
            layer: the `Attention` in whose scope this is called.
            x: what queries, keys and values were projected from.
            projected: query, key and value.
            index: of the layer in the stack.
            seen: what all layers share.
            memory: keys and values of the tokens before.
        """
        query, key, value = projected
        slots = seen.positions
        if memory is not None:
            memory = _remember(memory, key, value, seen.places)
            key, value = memory["key"], memory["value"]
            slots = jnp.arange(key.shape[2])[None]
        near = layer.attention.sees(
            seen.places[:, :, None], jnp.arange(key.shape[2]), index
        )
        mask = seen.mask if near is None else seen.mask & near[:, None]
        mixed = attend(
            query,
            key,
            value,
            mask,
            layer.dropout,
            seen.noise,
            causal=layer.causal and memory is None,
            bias=layer.positions.bias(seen.positions, slots, layer.heads, layer.causal),
            scale=layer.initial.attention_scale(query.shape[-1]),
            softcap=layer.softcap,
            window=layer.attention.reach(index),
        )
        return mixed, memory

    def empty_memory(
        self, batch: int, heads: int, slots: int, dim: int, dtype: Any
    ) -> Memory:
        """Keys and values of no token yet."""
        zeros = jnp.zeros((batch, heads, slots, dim), dtype)
        return {"key": zeros, "value": zeros}

    def kernels(self, width: int, heads: int) -> int:
        """Kernel entries beside those of the query, key, value and output."""
        return 0

    def products(self, width: int, dim: int, seen: float) -> float:
        """Multiplications of a token with what it sees: scores and mixed values."""
        return 2 * width * seen


def _remember(memory: Memory, key: Array, value: Array, places: Array) -> Memory:
    """Write keys and values of (batch, heads, time, dim) into their slots."""
    rows = jnp.arange(key.shape[0])[:, None]

    def write(slots, new):
        # Advanced indices around a slice put their axes first.
        return slots.at[rows, :, places].set(jnp.swapaxes(new, 1, 2))

    return {"key": write(memory["key"], key), "value": write(memory["value"], value)}
