"""Scores of each token of a text, from the vectors that any body gives them."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from lm_jax.bounds import within
from lm_jax.models.dropout import dropout
from lm_jax.models.linear import Dense
from lm_jax.models.over_body import OverBody

__all__ = ["Tagger"]


class Tagger(OverBody):
    """A body, and one layer over the vector of each token (Devlin et al. 2019, 4).

    Its outputs are the labels of a token; of questions, how well an answer begins and
    ends with it. The layer's parameters are ``token_head``, beside the body's.

    Attributes:
        body: as of `OverBody`. One with two ``segment_types`` is told which tokens are
            of the passage, and with three also which of these stand in the question.
        dropout: rate on the vectors.
        classes: outputs of a token; 0 takes the labels of the data, and is two, for
            the beginning and the end of an answer, where it has none.
    """

    dropout: float = within("[0, 1)", 0.0)
    classes: int = within("[0, 2147483647]", 0)

    @nn.compact
    def token_logits(
        self, hidden: Float[Array, "batch time width"]
    ) -> Float[Array, "batch time classes"]:
        """Score each token, float32, from features."""
        inputs, outputs = hidden.shape[-1], self.classes or 2
        sizes = inputs, outputs, self.head_std(inputs), True, hidden.dtype
        return Dense(*sizes, name="token_head")(hidden, jnp.float32)

    def features(
        self,
        tokens: Int[Array, "batch time"],
        segments: Int[Array, "batch time"] | None = None,
        dropout_keys: Key[Array, " batch"] | None = None,
        matches: Int[Array, "batch time"] | None = None,
    ) -> tuple[Float[Array, "batch time width"], None]:
        """Read texts: a vector of each token.

        Args:
            tokens: a text a row.
            segments: 0 is padding, on either side; 1 is a question, 2 its passage,
                3 what stands after that.
            dropout_keys: one random key for each example switches dropout on.
            matches: 1 where a token of the passage stands in the question.

        Returns:
            The vectors, float32; and None.
        """
        segments = jnp.ones_like(tokens) if segments is None else segments
        real, types = segments > 0, (segments >= 2).astype(jnp.int32)
        if matches is not None and self.types > 2:
            types += matches
        one = real.astype(jnp.int32)
        hidden = self._hidden(tokens, one, (real,), dropout_keys, types)
        return dropout(hidden, self.dropout, dropout_keys, "vectors"), None

    def __call__(
        self, tokens: Int[Array, "batch time"], *args: Any, **kwargs: Any
    ) -> Float[Array, "batch time classes"]:
        """Give the scores of each token."""
        return self.token_logits(self.features(tokens, *args, **kwargs)[0])

    def with_classes(self, classes: int) -> "Tagger":
        """The same model with the number of labels."""
        return self.clone(classes=classes)
