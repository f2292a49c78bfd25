"""Tell the number of a text."""

from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from lm_jax.objectives.base import ObjectiveBase
from lm_jax.objectives.sums import Sums, applied, penalties
from lm_jax.tokenizers.chunks import Coded


@dataclass(frozen=True)
class Regress(ObjectiveBase):
    """Squared error of the number of each text."""

    reads: ClassVar[tuple[str, ...]] = ("inputs", "segments", "value", "mask")
    unit = "squared error per text"
    calls = {"features": ("segments", "dropout_keys"), "number": ()}
    weighs = "mask"
    nothing = "no text of it has a number that counts. Give it texts with numbers"
    tells = "value"

    def predict(
        self,
        model: nn.Module,
        batch: dict[str, Array],
        carry: Any = None,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> tuple[Float[Array, " batch"], Any]:
        """Give the number of each text; see `OverVocabulary.predict`."""
        hidden, _ = model.features(
            batch["inputs"], segments=batch["segments"], dropout_keys=dropout_keys
        )
        return model.number(hidden), carry

    def told(
        self, model: nn.Module, params: Any, batch: dict[str, Array]
    ) -> Float[Array, "batch 1"]:
        """Give the number of each text, without dropout."""
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
            model: maps a text to features and these to a number.
            params: its parameters.
            batch: "inputs" and "segments" (batch, time); "value" and "mask" (batch,);
                "row" (batch,), the number of each example in the step's batch.
            key: of the step; None evaluates without dropout.
            carry: not used.

        Returns:
            Squared errors, over the number of texts.
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
        texts = sums["weight"]
        return {
            "loss": sums["squares"] / texts,
            "mean_error": sums["absolute"] / texts,
        }
