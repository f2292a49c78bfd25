"""Scaled dot-product attention, and the keys and values that it remembers."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from lm_jax.models.dropout import dropout
from lm_jax.models.linear import Dense, over_rows, together
from lm_jax.models.positions import NoPositions, Positions

Memory = dict[str, Float[Array, "batch kv_heads slots dim"]]


def attend(
    query: Float[Array, "batch heads time dim"],
    key: Float[Array, "batch kv_heads slots dim"],
    value: Float[Array, "batch kv_heads slots dim"],
    mask: Bool[Array, "masks 1 time slots"],
    rate: float = 0.0,
    noise: Key[Array, " batch"] | None = None,
    causal: bool = False,
) -> Float[Array, "batch heads time dim"]:
    """Softmax(query key^T / sqrt(dim)) value (Vaswani et al. 2017, eq. 1).

    Scores and softmax are float32. With fewer key heads than query heads, each
    key head serves a group of neighbouring query heads (Ainslie et al. 2023).
    ``causal`` says that the mask hides all later tokens: then blocks of scores
    that nobody sees are left out.
    """
    kept = None
    if noise is not None and rate:
        ones = jnp.ones((*query.shape[:3], key.shape[2]), jnp.float32)
        kept = dropout(ones, rate, noise, "attention weights")
    if not causal:
        return _mix(query, key, value, mask, kept)

    def block(start: int, end: int) -> Array:
        own = (..., slice(start, end), slice(end))
        return _mix(
            query[:, :, start:end],
            key[:, :, :end],
            value[:, :, :end],
            mask[own],
            None if kept is None else kept[own],
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
@jax.custom_vjp
def _mix(query, key, value, mask, kept):
    """Softmax(query key^T / sqrt(dim)) * kept, times value."""
    return _mix_forward(query, key, value, mask, kept)[0]


def _mix_forward(query, key, value, mask, kept):
    kv_heads, dim = key.shape[1], key.shape[3]
    scores = jnp.einsum(
        "bhtd,bhsd->bhts",
        _grouped(query, kv_heads),
        key,
        preferred_element_type=jnp.float32,
    )
    scores = scores.reshape(*query.shape[:3], -1) * dim**-0.5
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
    return mixed, (query, key, value, mask, kept, weights, total, mixed)


def _mix_backward(saved, gradient):
    """The backward pass of FlashAttention (Dao et al. 2022, B.4), in one block."""
    query, key, value, mask, kept, weights, total, mixed = saved
    kv_heads, dim = key.shape[1], key.shape[3]
    gradient = gradient.astype(jnp.float32) / total
    inner = (gradient * mixed.astype(jnp.float32)).sum(-1, keepdims=True)
    gradient = _grouped(gradient.astype(query.dtype), kv_heads)
    grad_weights = jnp.einsum(
        "bhtd,bhsd->bhts", gradient, value, preferred_element_type=jnp.float32
    )
    grad_weights = _times(grad_weights.reshape(weights.shape), kept)
    grad_scores = weights * (grad_weights - inner) * dim**-0.5
    grad_scores = jnp.where(mask, grad_scores, 0)  # for rows that see nothing
    grad_scores = _grouped(grad_scores.astype(query.dtype), kv_heads)
    grad_query = jnp.einsum("bhts,bhsd->bhtd", grad_scores, key)
    grad_key = over_rows(grad_scores, _grouped(query, kv_heads))
    grad_value = over_rows(_grouped(_times(weights, kept), kv_heads), gradient)
    return grad_query.reshape(query.shape), grad_key, grad_value, None, None


_mix.defvjp(_mix_forward, _mix_backward)


def _times(weights: Array, kept: Array | None) -> Array:
    return weights if kept is None else (weights * kept).astype(weights.dtype)


def _grouped(x: Array, kv_heads: int) -> Array:
    """Let each key head take the queries of its group as more rows."""
    return x.reshape(x.shape[0], kv_heads, -1, x.shape[-1])


def causal_mask(
    time: int, segments: Int[Array, "batch time"] | None = None
) -> Bool[Array, "rows 1 time time"]:
    """Token t sees the tokens up to t, of its own segment if there are any."""
    mask = jnp.tril(jnp.ones((time, time), bool))[None, None]
    if segments is None:
        return mask
    return mask & (segments[:, None, :, None] == segments[:, None, None, :])


class Attention(nn.Module):
    """Multi-head self-attention over a causal mask, with an optional memory.

    Attributes:
        heads: number of query heads; must divide the width.
        kv_heads: number of key and value heads; must divide ``heads``.
        positions: how queries and keys learn where they stand.
        dropout: rate on the attention weights.
        std, residual_std: of the initial kernels, and of the one that writes
            into the residual stream.
        use_bias: whether the dense layers have biases.
        dtype: type to compute in.
    """

    heads: int
    kv_heads: int
    positions: Positions = NoPositions()
    dropout: float = 0.0
    std: float = 0.02
    residual_std: float = 0.02
    use_bias: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch time width"],
        positions: Int[Array, "rows time"],
        mask: Bool[Array, "masks 1 time slots"],
        memory: Memory | None = None,
        noise: Key[Array, " batch"] | None = None,
    ) -> tuple[Float[Array, "batch time width"], Memory | None]:
        """Mix each token with those it sees.

        With a memory, keys and values are first written into the slots of
        ``positions`` and the tokens attend to the slots that ``mask`` shows.
        """
        width = x.shape[-1]
        dim = width // self.heads

        def dense(inputs, features, std, name):
            return Dense(inputs, features, std, self.use_bias, self.dtype, name=name)

        projected = together(
            x,
            dense(width, width, self.std, "query"),
            dense(width, self.kv_heads * dim, self.std, "key"),
            dense(width, self.kv_heads * dim, self.std, "value"),
        )
        # Batch and heads first: scores from this order run twice as fast on a
        # CPU as from (batch, time, heads, dim).
        query, key, value = (_split_heads(part, dim) for part in projected)
        query = self.positions.turn(query, positions)
        key = self.positions.turn(key, positions)
        if memory is not None:
            memory = _remember(memory, key, value, positions)
            key, value = memory["key"], memory["value"]
        causal = memory is None
        mixed = attend(query, key, value, mask, self.dropout, noise, causal)
        mixed = jnp.swapaxes(mixed, 1, 2).reshape(x.shape)
        return dense(width, width, self.residual_std, "output")(mixed), memory


def _split_heads(x: Array, dim: int) -> Array:
    batch, time, width = x.shape
    return jnp.swapaxes(x.reshape(batch, time, width // dim, dim), 1, 2)


def _remember(memory: Memory, key: Array, value: Array, positions: Array) -> Memory:
    """Write keys and values of (batch, heads, time, dim) into their slots."""
    rows = jnp.arange(key.shape[0])[:, None]

    def write(slots, new):
        # Advanced indices around a slice put their axes first.
        return slots.at[rows, :, positions].set(jnp.swapaxes(new, 1, 2))

    return {"key": write(memory["key"], key), "value": write(memory["value"], value)}
