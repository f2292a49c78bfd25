"""Tell how alike two texts are, by the cosine of their vectors."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from lm_jax.models.dropout import part_keys
from lm_jax.objectives.regress import Regress

# Of a vector of nothing but zeros the cosine is 0, and has no gradient.
_LEAST = 1e-12


@dataclass(frozen=True)
class CosineSimilarity(Regress):
    """Squared error of the cosine of two texts' vectors, which is to be their rating
    (Reimers and Gurevych 2019, 3: the objective of regression).

    Where towers are apart, the first text is read as a query, the second as a passage.
    A batch has "first_inputs", "first_segments", "second_inputs" and "second_segments"
    (batch, time), and the rest as of `Regress`; the rating is from 0 to 1.
    """

    reads = (
        *("first_inputs", "first_segments", "second_inputs", "second_segments"),
        *("value", "mask"),
    )
    calls = {
        "query_vectors": ("segments", "dropout_keys"),
        "passage_vectors": ("segments", "dropout_keys"),
    }
    unit = "squared error per pair"
    nothing = "no pair of it has a rating that counts. Give it pairs with ratings"

    def predict(
        self,
        model: nn.Module,
        batch: dict[str, Array],
        carry: Any = None,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> tuple[Float[Array, " batch"], Any]:
        """Give the cosine of each pair; see `OverVocabulary.predict`."""
        first = model.query_vectors(
            batch["first_inputs"],
            segments=batch["first_segments"],
            dropout_keys=dropout_keys,
        )
        second = model.passage_vectors(
            batch["second_inputs"],
            segments=batch["second_segments"],
            dropout_keys=part_keys(dropout_keys, "second"),
        )
        squares = (first**2).sum(-1) * (second**2).sum(-1)
        return (first * second).sum(-1) / jnp.sqrt(jnp.maximum(squares, _LEAST)), carry
