"""Tell how alike two texts are, by the cosine of their vectors."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from lm_jax.models.dropout import part_keys
from lm_jax.objectives.base import ObjectiveBase
from lm_jax.objectives.sums import Sums, applied, penalties
from lm_jax.tokenizers.chunks import Coded

# Of a vector of nothing but zeros the cosine is 0, and has no gradient.
_LEAST = 1e-12


@dataclass(frozen=True)
class CosineSimilarity(ObjectiveBase):
    """Squared error of the cosine of two texts' vectors, which is to be their rating
    (Reimers and Gurevych 2019, 3: the objective of regression).

    Where towers are apart, the first text is read as a query, the second as a passage.
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
    weighs = "mask"
    nothing = "no pair of it has a rating that counts. Give it pairs with ratings"
    tells = "value"

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

    def told(
        self, model: nn.Module, params: Any, batch: dict[str, Array]
    ) -> Float[Array, "batch 1"]:
        """Give the cosine of each pair, without dropout."""
        (found, _), _ = applied(self, model, params, batch, None, None)
        return found[:, None]

    def __call__(
        self,
        model: nn.Module,
        params: Any,
        batch: dict[str, Array],
        key: Key[Array, ""] | None,
        carry: Any = None,
    ) -> Sums:
        """Sum the loss of a batch.

        Args:
            model: maps texts to vectors, of queries and of passages.
            params: its parameters.
            batch: "first_inputs", "first_segments", "second_inputs" and
                "second_segments" (batch, time); "value", the rating from 0 to 1, and
                "mask" (batch,); "row" (batch,), the number of each example in the
                step's batch.
            key: of the step; None evaluates without dropout.
            carry: not used.

        Returns:
            Squared errors, over the number of pairs.
        """
        (found, carry), sown = applied(self, model, params, batch, key, carry)
        error, mask = found - batch["value"], batch["mask"]
        squares = (jnp.square(error) * mask).sum()
        absolute = (jnp.abs(error) * mask).sum()
        loss = squares + penalties(sown, mask[:, None])
        metrics = {"squares": squares, "absolute": absolute}
        return Sums(loss, mask.sum(), metrics, carry)

    def scores(self, sums: dict[str, float], text: Coded) -> dict[str, float]:
        """Give the mean squared error over a whole split, and the mean error."""
        pairs = sums["weight"]
        return {
            "loss": sums["squares"] / pairs,
            "mean_error": sums["absolute"] / pairs,
        }
