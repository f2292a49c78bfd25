"""A vector of a query and one of a passage, that are alike where this answers that."""

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from lm_jax.models.model import Model, lacking
from lm_jax.models.over_body import READS
from lm_jax.models.pooling import Mean, Pool
from lm_jax.models.transformer import Transformer

__all__ = ["BiEncoder"]

Vectors = Float[Array, "batch width"]


class BiEncoder(Model):
    """Two towers that read queries and passages by themselves (Karpukhin et al. 2020).

    How well a passage answers is the inner product of both vectors, so that those of
    passages are made once, before there is a query.

    Attributes:
        body: a model with features of each token.
        pool: how they become the text's.
        towers: "shared" is one body for both. Its parameters keep their paths, so that
            a run begins with those of a run of the body alone. "apart" are two bodies
            of one kind: ``query_tower`` and ``passage_tower``.
        similarity: "cosine" makes all vectors of length 1; "product" leaves them.
    """

    causal: ClassVar[None] = None

    body: Model = Transformer()
    pool: Pool = Mean()
    towers: Literal["shared", "apart"] = "shared"
    similarity: Literal["cosine", "product"] = "cosine"

    def __post_init__(self) -> None:
        """Take what only makes logits of tokens out of the body."""
        object.__setattr__(self, "body", self.body.without_logits())
        super().__post_init__()

    def setup(self):
        """Declare both towers, or the one beside the body's own parameters."""
        if self.towers == "shared":
            nn.share_scope(self, self.body)
        else:
            self.query_tower = self.body.clone()
            self.passage_tower = self.body.clone()

    def query_vectors(
        self,
        tokens: Int[Array, "batch time"],
        segments: Int[Array, "batch time"] | None = None,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> Vectors:
        """Read queries: a vector of each, float32.

        Args:
            tokens: a query a row.
            segments: 0 is padding, on either side.
            dropout_keys: one random key for each example switches dropout on.
        """
        shared = self.towers == "shared"
        tower = self.body if shared else self.query_tower
        return self._read(tower, tokens, segments, dropout_keys)

    def passage_vectors(
        self,
        tokens: Int[Array, "batch time"],
        segments: Int[Array, "batch time"] | None = None,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> Vectors:
        """Read passages: a vector of each, float32; see `query_vectors`."""
        shared = self.towers == "shared"
        tower = self.body if shared else self.passage_tower
        return self._read(tower, tokens, segments, dropout_keys)

    def _read(
        self,
        tower: Any,
        tokens: Int[Array, "batch time"],
        segments: Int[Array, "batch time"] | None,
        dropout_keys: Key[Array, " batch"] | None,
    ) -> Vectors:
        segments = jnp.ones_like(tokens) if segments is None else segments
        real = segments > 0
        positions = jnp.where(real, jnp.cumsum(real, axis=1) - 1, 0)
        hidden, _ = tower.features(
            tokens,
            positions=positions,
            segments=real.astype(jnp.int32),
            dropout_keys=dropout_keys,
        )
        vectors = self.pool(hidden.astype(jnp.float32), real)
        if self.similarity == "product":
            return vectors
        # Of a row of padding nothing but zeros is left, and no gradient of it.
        square = jnp.sum(jnp.square(vectors), axis=-1, keepdims=True)
        return vectors / jnp.sqrt(jnp.maximum(square, 1e-12))

    def features(
        self, tokens: Int[Array, "batch time"], **read: Any
    ) -> tuple[Vectors, None]:
        """Read passages; and None. See `passage_vectors`."""
        return self.passage_vectors(tokens, **read), None

    def __call__(self, tokens: Int[Array, "batch time"], **read: Any) -> Vectors:
        """Read passages; see `passage_vectors`."""
        return self.passage_vectors(tokens, **read)

    def with_body(self, body: Model) -> "BiEncoder":
        """The same model around another body."""
        return self.clone(body=body)

    @property
    def dtype(self) -> str:
        """Type that the body computes in."""
        return getattr(self.body, "dtype", "float32")

    def vectors(self) -> Float[Array, "vocab width"]:
        """Give the vectors of the tokens: those of the passages' tower."""
        shared = self.towers == "shared"
        return (self.body if shared else self.passage_tower).vectors()

    def filled(self, vocab_size: int, context: int) -> "BiEncoder":
        """The same model with what only the data knows.

        Raises:
            ValueError: the body can't read so many tokens, or has other tokens.
        """
        if self.body.vocab_size not in (0, vocab_size):
            raise ValueError(
                f"model.body.vocab_size is {self.body.vocab_size}, and the tokenizer "
                f"has {vocab_size} tokens. Leave it out: it is taken from the data."
            )
        body = self.body.filled(vocab_size, context)
        return self.clone(vocab_size=vocab_size, body=body)

    def problems(self) -> Iterator[str]:
        """Say, before anything is compiled, why these fields can't go together."""
        if self.body.causal is None or lacking(self.body, READS):
            yield (
                f"model.body={type(self.body).__name__} gives no vector of each token "
                "of a text: a bi-encoder has a Transformer, Encoder, Recurrent, "
                "BiRecurrent, GatedConv or BagOfVectors for a body."
            )
            return
        for problem in self.body.problems():
            yield problem.replace("model.", "model.body.")

    def flops_per_token(self, context: int) -> float | None:
        """As of the body, which makes no logits of tokens."""
        return self.body.clone(vocab_size=0).flops_per_token(context)
