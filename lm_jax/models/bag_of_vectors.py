"""A vector of each token, and nothing that it sees of the others."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from lm_jax.bounds import SIZES, within
from lm_jax.models.dropout import dropout
from lm_jax.models.model import Model
from lm_jax.models.word_vectors import uniform

__all__ = ["BagOfVectors"]


class BagOfVectors(Model):
    """Word vectors as the body of a classifier.

    With `Mean` they are fastText's classifier without its n-grams (Joulin et al.
    2017), and ``dropout`` is the word dropout of deep averaging networks (Iyyer et
    al. 2015).

    Attributes:
        width: width of a vector.
        dropout: rate of whole tokens.
    """

    width: int = within(SIZES, 100)
    dropout: float = within("[0, 1)", 0.0)

    def setup(self):
        """Declare the table, as `WordVectors` does."""
        shape = (self.vocab_size, self.width)
        self.embedding = self.param("embedding", uniform(self.width), shape)

    def features(
        self,
        tokens: Int[Array, "batch time"],
        positions: Int[Array, "batch time"] | None = None,
        segments: Int[Array, "batch time"] | None = None,
        cache: None = None,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> tuple[Float[Array, "batch time width"], None]:
        """Look tokens up.

        Args:
            tokens: what was read.
            positions, segments, cache: taken for the sake of other models.
            dropout_keys: one random key for each example switches dropout on.

        Returns:
            The vectors, and None.
        """
        x = jnp.take(self.whole("embedding", "lookup"), tokens, axis=0)
        kept: Any = jnp.ones((*tokens.shape, 1))
        return x * dropout(kept, self.dropout, dropout_keys, "tokens"), None

    def vectors(self) -> Float[Array, "vocab width"]:
        """Give the vectors of the tokens."""
        return self.embedding

    def flops_per_token(self, context: int) -> float:
        """Floating point operations to train on one token: six an entry."""
        return 6.0 * self.width
