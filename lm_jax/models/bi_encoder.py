"""A vector of a query and one of a passage, that are alike where this answers that."""

from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from lm_jax.models.over_body import OverBody
from lm_jax.models.pooling import Mean, Pool

__all__ = ["BiEncoder"]

Vectors = Float[Array, "batch width"]


class BiEncoder(OverBody):
    """Two towers that read queries and passages by themselves (Karpukhin et al. 2020).

    How well a passage answers is the inner product of both vectors, so that those of
    passages are made once, before there is a query.

    Attributes:
        body: as of `OverBody`.
        pool: how they become the text's.
        towers: "shared" is one body for both. Its parameters keep their paths, so that
            a run begins with those of a run of the body alone. "apart" are two bodies
            of one kind: ``query_tower`` and ``passage_tower``.
        similarity: "cosine" makes all vectors of length 1; "product" leaves them.
    """

    pool: Pool = Mean()
    towers: Literal["shared", "apart"] = "shared"
    similarity: Literal["cosine", "product"] = "cosine"

    @property
    def one_tower(self) -> bool:
        """Whether one body reads queries and passages."""
        return self.towers == "shared"

    @property
    def below(self) -> str:
        """An expression of what either tower reads tokens with."""
        towers = "|^(query|passage)_tower/(embedding|types/|positions)"
        return super().below + towers

    def setup(self):
        """Declare both towers, or the one beside the body's own parameters."""
        if self.one_tower:
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
        tower = self.body if self.one_tower else self.query_tower
        return self._read(tower, tokens, segments, dropout_keys)

    def passage_vectors(
        self,
        tokens: Int[Array, "batch time"],
        segments: Int[Array, "batch time"] | None = None,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> Vectors:
        """Read passages: a vector of each, float32; see `query_vectors`."""
        tower = self.body if self.one_tower else self.passage_tower
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

    def vectors(self) -> Float[Array, "vocab width"]:
        """Give the vectors of the tokens: those of the passages' tower."""
        return (self.body if self.one_tower else self.passage_tower).vectors()
