"""The Transformer decoder: a causal language model (Radford et al. 2018)."""

import flax.linen as nn
from jaxtyping import Array, Float, Int, Key

from lm_jax.models.block import apply_blocks
from lm_jax.models.cache import Cache
from lm_jax.models.stack import Stack

__all__ = ["Transformer"]


class Transformer(Stack):
    """A stack of blocks between an embedding and the logits of the next token."""

    @nn.compact
    def features(
        self,
        tokens: Int[Array, "batch time"],
        positions: Int[Array, "batch time"] | None = None,
        segments: Int[Array, "batch time"] | None = None,
        cache: Cache | None = None,
        dropout_keys: Key[Array, " batch"] | None = None,
        slots: Int[Array, "batch time"] | None = None,
    ) -> tuple[Float[Array, "batch time width"], Cache | None]:
        """Read tokens: a vector of each, from which the next one is predicted.

        Args:
            tokens: what was read.
            positions: where each token stands; from 0 if None.
            segments: tokens see only tokens of the same segment. 0 is padding, of
                which a cache remembers nothing.
            cache: what is left of the tokens before, by `empty_cache`.
            dropout_keys: one random key for each example switches dropout on.
            slots: of the cache, where each token is written; its position if None.

        Returns:
            The features, and the cache with these tokens (or None).
        """
        shared, cache = self.left_to_right(
            tokens, positions, segments, cache, dropout_keys, slots
        )
        x = self.embed(tokens, shared)
        layers = None if cache is None else cache.layers
        x, layers = apply_blocks(self.config, x, layers, shared)
        x = x if self.norm_at == "post" else self.normalise(x, "norm")
        return x, None if cache is None else cache._replace(layers=layers)
