"""Word vectors: tables of vectors, and nothing between them."""

from collections.abc import Iterator
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lm_jax.bounds import SIZES, within
from lm_jax.models.model import Model

__all__ = ["GlobalVectors", "WordVectors"]


def uniform(width: int):
    """Give the first values of word2vec's input vectors: a box of side 1 / width."""

    def draw(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -0.5 / width, 0.5 / width)

    return draw


class WordVectors(Model):
    """A vector of each word, and one of each output (Mikolov et al. 2013).

    An output is a word, or a node of a tree over the words. The vectors of the
    words are what is kept.

    Attributes:
        width: width of a vector.
    """

    causal: ClassVar[None] = None
    tables: ClassVar[bool] = True

    width: int = within(SIZES, 100)

    def setup(self):
        """Declare the tables; outputs begin at zero, as word2vec's do."""
        shape = (self.vocab_size, self.width)
        self.embedding = self.param("embedding", uniform(self.width), shape)
        self.output = self.param("output", nn.initializers.zeros, shape)

    def __call__(self, words: Int[Array, "*batch"]) -> Float[Array, "*batch width"]:
        """Give the vectors of words."""
        return jnp.take(self.embedding, words, axis=0, mode="clip")

    def outputs(self, outputs: Int[Array, "*batch"]) -> Float[Array, "*batch width"]:
        """Give the vectors of outputs."""
        return jnp.take(self.output, outputs, axis=0, mode="clip")

    def vectors(self) -> Float[Array, "vocab width"]:
        """Give the vectors to keep."""
        return self.embedding

    def problems(self) -> Iterator[str]:
        """Say, before anything is compiled, why these fields can't be."""
        yield from _problems(self)

    def flops_per_token(self, context: int) -> float:
        """Floating point operations to train one product of two vectors.

        How many products a word takes, the data decides.
        """
        return 6.0 * self.width


class GlobalVectors(Model):
    """Two vectors and two biases of each word: GloVe (Pennington et al. 2014).

    Attributes:
        width: width of a vector.
    """

    causal: ClassVar[None] = None
    tables: ClassVar[bool] = True

    width: int = within(SIZES, 100)

    def setup(self):
        """Declare the tables: a word's own, and those of a word as context."""
        draw, shape = uniform(self.width), (self.vocab_size, self.width)
        self.embedding = self.param("embedding", draw, shape)
        self.context = self.param("context", draw, shape)
        self.bias = self.param("bias", draw, shape[:1])
        self.context_bias = self.param("context_bias", draw, shape[:1])

    def __call__(self, words: Int[Array, "*batch"]) -> Float[Array, "*batch width"]:
        """Give the vectors of words."""
        return jnp.take(self.vectors(), words, axis=0)

    def log_counts(
        self, words: Int[Array, "*batch"], contexts: Int[Array, "*batch"]
    ) -> Float[Array, "*batch"]:
        """Predict how often pairs meet: w_i . w~_j + b_i + b~_j (eq. 7)."""
        word, context = self.embedding[words], self.context[contexts]
        product = (word * context).sum(-1)
        return product + self.bias[words] + self.context_bias[contexts]

    def vectors(self) -> Float[Array, "vocab width"]:
        """Give the vectors to keep: w + w~ (4.2)."""
        return self.embedding + self.context

    def problems(self) -> Iterator[str]:
        """Say, before anything is compiled, why these fields can't be."""
        yield from _problems(self)

    def flops_per_token(self, context: int) -> float:
        """Floating point operations to train one pair of words."""
        return 6.0 * self.width


def _problems(model: WordVectors | GlobalVectors) -> Iterator[str]:
    if model.vocab_size < 2:
        yield (
            f"model.vocab_size={model.vocab_size}: word vectors need 2 words or "
            "more, to tell one from the other. Use a longer text."
        )
