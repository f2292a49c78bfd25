"""Tell the label of each token."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from lm_jax.objectives.base import ObjectiveBase
from lm_jax.objectives.sums import Sums, applied, penalties
from lm_jax.tokenizers.chunks import Coded


@dataclass(frozen=True)
class LabelTokens(ObjectiveBase):
    """Cross-entropy of the label of each word, at its first token."""

    reads = ("inputs", "segments", "tags", "mask")
    unit = "nats per word"
    calls = {
        "features": ("segments", "dropout_keys"),
        "token_logits": (),
        "with_classes": (),
    }
    weighs = "mask"
    nothing = "no word of it has a label. Give it labelled words"
    tells = "tags"

    def predict(
        self,
        model: nn.Module,
        batch: dict[str, Array],
        carry: Any = None,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> tuple[Float[Array, "batch time classes"], Any]:
        """Give the logits of each token's labels; see `OverVocabulary.predict`."""
        hidden, _ = model.features(
            batch["inputs"], segments=batch["segments"], dropout_keys=dropout_keys
        )
        return model.token_logits(hidden), carry

    def told(
        self, model: nn.Module, params: Any, batch: dict[str, Array]
    ) -> Int[Array, "batch time"]:
        """Give the number of each word's label, without dropout; -1 of other tokens."""
        (logits, _), _ = applied(self, model, params, batch, None, None)
        return jnp.where(batch["mask"] > 0, logits.argmax(-1), -1)

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
            model: maps texts to features and these to logits of labels.
            params: its parameters.
            batch: "inputs", "segments", "tags" and "mask" (batch, time); "row"
                (batch,), the number of each example in the step's batch.
            key: of the step; None evaluates without dropout.
            carry: not used.

        Returns:
            Nats, over the number of words.
        """
        (logits, carry), sown = applied(self, model, params, batch, key, carry)
        mask, tags = batch["mask"], jnp.maximum(batch["tags"], 0)
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, tags)
        # What the mask hides has no label, or one that the model doesn't know.
        total = jnp.where(mask > 0, nats * mask, 0.0).sum()
        correct = ((logits.argmax(-1) == tags) * mask).sum()
        loss = total + penalties(sown, mask)
        return Sums(loss, mask.sum(), {"nats": total, "correct": correct}, carry)

    def scores(self, sums: dict[str, float], text: Coded) -> dict[str, float]:
        """Give the nats of a label over a whole split, and the share told rightly."""
        words = sums["weight"]
        return {"loss": sums["nats"] / words, "accuracy": sums["correct"] / words}
