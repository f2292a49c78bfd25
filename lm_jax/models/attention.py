"""Scaled dot-product attention, and the keys and values that it remembers."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from lm_jax.models.dropout import dropout
from lm_jax.models.linear import Dense, together
from lm_jax.models.positions import NoPositions, Positions

Memory = dict[str, Float[Array, "batch kv_heads slots dim"]]


def attend(
    query: Float[Array, "batch heads time dim"],
    key: Float[Array, "batch kv_heads slots dim"],
    value: Float[Array, "batch kv_heads slots dim"],
    mask: Bool[Array, "masks 1 time slots"],
    rate: float = 0.0,
    noise: Key[Array, " batch"] | None = None,
) -> Float[Array, "batch heads time dim"]:
    """Softmax(query key^T / sqrt(dim)) value (Vaswani et al. 2017, eq. 1).

    Scores and softmax are float32. With fewer key heads than query heads, each
    key head serves a group of neighbouring query heads (Ainslie et al. 2023).
    """
    batch, heads, time, dim = query.shape
    grouped = query.reshape(batch, key.shape[1], -1, dim)
    scores = jnp.einsum(
        "bhtd,bhsd->bhts", grouped, key, preferred_element_type=jnp.float32
    )
    scores = scores.reshape(batch, heads, time, -1) * dim**-0.5
    weights = jax.nn.softmax(jnp.where(mask, scores, -1e30), axis=-1)
    weights = dropout(weights.astype(value.dtype), rate, noise, "attention weights")
    grouped = weights.reshape(batch, key.shape[1], -1, weights.shape[-1])
    mixed = jnp.einsum("bhts,bhsd->bhtd", grouped, value)
    return mixed.reshape(batch, heads, time, dim)


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
        mixed = attend(query, key, value, mask, self.dropout, noise)
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
