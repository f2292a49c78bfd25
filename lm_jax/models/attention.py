"""Multi-head attention: projections around a choice of how tokens mix."""

import flax.linen as nn
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from lm_jax.kernels.attention import attend
from lm_jax.kernels.placement import constrain
from lm_jax.models.norms import RMSNorm
from lm_jax.models.part import BlockPart
from lm_jax.models.patterns import Index, Shared
from lm_jax.models.softmax import Cache, kept_weights


class Heads(BlockPart):
    """What self-attention and attention to another sequence share."""

    def projections(
        self, x: Float[Array, "batch time width"], *names: str
    ) -> list[Float[Array, "batch _ time dim"]]:
        """Give queries, keys or values of x, by their names, head by head."""
        config = self.config
        heads = {"query": config.heads, "key": config.groups, "value": config.groups}
        widths = {name: heads[name] * config.dim for name in names}
        # One product of all three would need their kernels side by side, and putting
        # them there costs more than it gives: a prefill of 128 tokens took a tenth
        # longer (124M parameters, float32, jax 0.12, two Xeon cores).
        parts = {
            name: self.dense(config.width, width, "hidden", name, config.qkv_bias)(x)
            for name, width in widths.items()
        }
        # Batch and heads first: scores from this order run twice as fast on a
        # CPU as from (batch, time, heads, dim).
        return [self._normed(part, name) for name, part in parts.items()]

    def _normed(self, x: Array, name: str) -> Array:
        """Split into heads, with the norm of queries and keys before or after."""
        where = "none" if name == "value" else self.config.qk_norm
        if where != "none":
            epsilon = self.config.norm_epsilon or 1e-6
            norm = RMSNorm(False, self.config.dtype, epsilon, name=f"{name}_norm")
        if where == "width":
            x = norm(x)
        batch, time, width = x.shape
        dim = self.config.dim
        x = jnp.swapaxes(x.reshape(batch, time, width // dim, dim), 1, 2)
        x = constrain(x, "batch", "heads", "time", None)
        return norm(x) if where == "head" else x

    def output(
        self, mixed: Float[Array, "batch heads time dim"]
    ) -> Float[Array, "batch time width"]:
        """Join the heads and write into the residual stream."""
        batch, heads, time, dim = mixed.shape
        joined = jnp.swapaxes(mixed, 1, 2).reshape(batch, time, heads * dim)
        joined = checkpoint_name(joined, "mixed")
        output = self.dense(heads * dim, self.config.width, "residual", "output")
        return checkpoint_name(output(joined), "attention")


class Attention(Heads):
    """Multi-head self-attention, with an optional cache."""

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch time width"],
        index: Index,
        shared: Shared,
        cache: Cache | None = None,
    ) -> tuple[Float[Array, "batch time width"], Cache | None]:
        """Mix each token with those it sees, as layer ``index`` of the stack."""
        query, key, value = self.projections(x, "query", "key", "value")
        positions = self.config.positions
        query = positions.turn(self, query, shared.positions, index)
        key = positions.turn(self, key, shared.positions, index)
        projected = (
            checkpoint_name(query, "query"),
            checkpoint_name(key, "key"),
            checkpoint_name(value, "value"),
        )
        mixed, cache = self.config.mixer(self, x, projected, index, shared, cache)
        return self.output(mixed), cache


class CrossAttention(Heads):
    """Multi-head attention to another sequence."""

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch time width"],
        shared: Shared,
        cache: Cache | None = None,
    ) -> tuple[Float[Array, "batch time width"], Cache]:
        """Mix each token with the tokens of ``shared.source``.

        Without a source, keys and values are those of the cache. Returns them
        with the result: they serve all tokens to come.
        """
        (query,) = self.projections(x, "query")
        if shared.source is not None:
            key, value = self.projections(shared.source, "key", "value")
            cache = {"key": key, "value": value}
        assert cache is not None and shared.source_mask is not None
        mask = jnp.broadcast_to(
            shared.source_mask[:, None, None],
            (x.shape[0], 1, x.shape[1], shared.source_mask.shape[1]),
        )
        mixed = attend(
            query,
            cache["key"],
            cache["value"],
            mask,
            kept_weights(query, cache["key"], self.config.dropout, shared.dropout_keys),
            scale=self.config.score_scale,
            softcap=self.config.softcap,
        )
        return self.output(mixed), cache
