"""A Transformer over sentences: a vector of each, by the words that it has."""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from lm_jax.models.block import apply_blocks
from lm_jax.models.dropout import dropout
from lm_jax.models.dtype import array_dtype
from lm_jax.models.stack import Stack

__all__ = ["StoryReader"]


class StoryReader(Stack):
    """A decoder whose tokens are sentences, with logits of words.

    The vector of a sentence is a sum over its words, weighted by a vector for each
    place in it that is learnt from ones (Sukhbaatar et al. 2015, 4.1, fix theirs;
    Henaff et al. 2017, eq. 1, learn it), with a norm. ``positions`` tell where a
    sentence stands in its story.
    """

    reads: ClassVar[tuple[str, ...]] = ("sentences",)

    @nn.compact
    def features(
        self,
        sentences: Int[Array, "batch time words"],
        positions: Int[Array, "batch time"] | None = None,
        segments: Int[Array, "batch time"] | None = None,
        cache: None = None,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> tuple[Float[Array, "batch time width"], None]:
        """Read sentences: a vector of each, from which its answer is predicted.

        Args:
            sentences: the words of each, -1 after its last.
            positions: where each sentence stands in its story; from 0 if None.
            segments: sentences see only those of the same segment. 0 is padding.
            cache: None: stories are read whole.
            dropout_keys: one random key for each example switches dropout on.

        Returns:
            The features, and None.
        """
        first = sentences[..., 0]
        shared, _ = self.left_to_right(
            first, positions, segments, None, dropout_keys, None
        )
        x = self.normalise(self._summed(sentences), "sentence_norm")
        x = self.positions.embed(self, x, shared.positions)
        x = dropout(x, self.dropout, dropout_keys, "embedding")
        x, _ = apply_blocks(self.config, x, None, shared)
        return x if self.norm_at == "post" else self.normalise(x, "norm"), None

    def _summed(self, sentences: Int[Array, "batch time words"]) -> Any:
        """Sum the vectors of the words of each sentence."""
        weights = self.param(
            "places", nn.initializers.ones, (sentences.shape[-1], self.width)
        )
        x = jnp.take(self.whole("embedding", "lookup"), sentences, axis=0)
        weights = jnp.where(sentences[..., None] < 0, 0, weights)
        return (x * weights).sum(-2).astype(array_dtype(self.dtype))
