"""Multi-head attention: projections around a choice of how tokens mix."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from lm_jax.models.gated_linear import GatedLinear
from lm_jax.models.initial import GPT2, Initial, Role
from lm_jax.models.linear import Dense, together
from lm_jax.models.norms import RMSNorm
from lm_jax.models.patterns import Full, Index, Pattern, Seen
from lm_jax.models.positions import NoPositions, Positions
from lm_jax.models.softmax import Memory, Softmax, attend

Mixer = Softmax | GatedLinear


class Attention(nn.Module):
    """Multi-head self-attention, with an optional memory.

    Attributes:
        heads: number of query heads; must divide the width.
        kv_heads: number of key and value heads; must divide ``heads``.
        positions: how queries and keys learn where they stand.
        mixer: how tokens take from those before.
        attention: which tokens a token sees.
        softcap: largest score; None has no limit.
        qk_norm: whether queries and keys have unit root mean square.
        causal: whether a token sees only those before.
        dropout: rate on the attention weights.
        use_bias: whether the dense layers have biases.
        initial: how large initial values are.
        layers: depth of the stack.
        dtype: type to compute in.
    """

    heads: int
    kv_heads: int
    positions: Positions = NoPositions()
    mixer: Mixer = Softmax()
    attention: Pattern = Full()
    softcap: float | None = None
    qk_norm: bool = False
    causal: bool = True
    dropout: float = 0.0
    use_bias: bool = False
    initial: Initial = GPT2()
    layers: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch time width"],
        index: Index,
        seen: Seen,
        memory: Memory | None = None,
    ) -> tuple[Float[Array, "batch time width"], Memory | None]:
        """Mix each token with those it sees, as layer ``index`` of the stack."""
        width = x.shape[-1]
        dim = width // self.heads
        projected = together(
            x,
            self.dense(width, width, "hidden", "query"),
            self.dense(width, self.kv_heads * dim, "hidden", "key"),
            self.dense(width, self.kv_heads * dim, "hidden", "value"),
        )
        # Batch and heads first: scores from this order run twice as fast on a
        # CPU as from (batch, time, heads, dim).
        query, key, value = (_split_heads(part, dim) for part in projected)
        if self.qk_norm:
            query = RMSNorm(dtype=self.dtype, name="query_norm")(query)
            key = RMSNorm(dtype=self.dtype, name="key_norm")(key)
        query = self.positions.turn(query, seen.positions)
        key = self.positions.turn(key, seen.positions)
        mixed, memory = self.mixer(self, x, (query, key, value), index, seen, memory)
        return self.dense(width, width, "residual", "output")(
            _join_heads(mixed)
        ), memory

    def dense(self, inputs: int, features: int, role: Role, name: str) -> Dense:
        """Declare a dense layer."""
        std = self.initial.std(role, inputs, inputs, self.layers)
        return Dense(inputs, features, std, self.use_bias, self.dtype, name=name)


class CrossAttention(nn.Module):
    """Multi-head attention to another sequence.

    Attributes: as those of Attention.
    """

    heads: int
    kv_heads: int
    softcap: float | None = None
    qk_norm: bool = False
    dropout: float = 0.0
    use_bias: bool = False
    initial: Initial = GPT2()
    layers: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch time width"],
        seen: Seen,
        memory: Memory | None = None,
    ) -> tuple[Float[Array, "batch time width"], Memory]:
        """Mix each token with the tokens of ``seen.source``.

        Without a source, keys and values are those of ``memory``. Returns them
        with the result: they serve all tokens to come.
        """
        width = x.shape[-1]
        dim = width // self.heads

        def dense(features, role, name):
            std = self.initial.std(role, width, width, self.layers)
            return Dense(width, features, std, self.use_bias, self.dtype, name=name)

        query = _split_heads(dense(width, "hidden", "query")(x), dim)
        if self.qk_norm:
            query = RMSNorm(dtype=self.dtype, name="query_norm")(query)
        if seen.source is not None:
            projected = together(
                seen.source,
                dense(self.kv_heads * dim, "hidden", "key"),
                dense(self.kv_heads * dim, "hidden", "value"),
            )
            key, value = (_split_heads(part, dim) for part in projected)
            if self.qk_norm:
                key = RMSNorm(dtype=self.dtype, name="key_norm")(key)
            memory = {"key": key, "value": value}
        assert memory is not None and seen.source_mask is not None
        mask = jnp.broadcast_to(
            seen.source_mask[:, None, None],
            (x.shape[0], 1, x.shape[1], seen.source_mask.shape[1]),
        )
        mixed = attend(
            query,
            memory["key"],
            memory["value"],
            mask,
            self.dropout,
            seen.noise,
            scale=self.initial.attention_scale(dim),
            softcap=self.softcap,
        )
        return dense(width, "residual", "output")(_join_heads(mixed)), memory


def _split_heads(x: Array, dim: int) -> Array:
    batch, time, width = x.shape
    return jnp.swapaxes(x.reshape(batch, time, width // dim, dim), 1, 2)


def _join_heads(x: Array) -> Array:
    batch, heads, time, dim = x.shape
    return jnp.swapaxes(x, 1, 2).reshape(batch, time, heads * dim)
