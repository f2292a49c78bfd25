"""Answer the questions of stories by a word each."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from lm_jax.objectives.over_vocabulary import OverVocabulary
from lm_jax.objectives.sums import applied
from lm_jax.tokenizers.chunks import Coded


@dataclass(frozen=True)
class AnswerQuestions(OverVocabulary):
    """Cross-entropy of the answer to each question (Sukhbaatar et al. 2015, eq. 3)."""

    reads = ("sentences", "targets", "mask")
    may_read = ("positions", "segments")
    calls = {"features": ("positions", "segments", "dropout_keys"), "logits": ()}
    causal = True
    weighs = "mask"
    nothing = "no sentence of it is a question. Give it others"
    tells = "targets"
    unit = "nats per question"

    def read(
        self,
        model: nn.Module,
        batch: dict[str, Array],
        carry: Any = None,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> tuple[Float[Array, "batch time width"], Any]:
        """Give the features of the sentences; see `OverVocabulary.predict`."""
        hidden, _ = model.features(
            batch["sentences"],
            positions=batch.get("positions"),
            segments=batch.get("segments"),
            dropout_keys=dropout_keys,
        )
        return hidden, carry

    def told(
        self, model: nn.Module, params: Any, batch: dict[str, Array]
    ) -> Int[Array, "batch time"]:
        """Give the answer to each question, without dropout; -1 of other sentences."""
        (logits, _), _ = applied(self, model, params, batch, None, None)
        return jnp.where(batch["mask"] > 0, logits.argmax(-1), -1)

    def scores(self, sums: dict[str, float], text: Coded) -> dict[str, float]:
        """Give the nats of an answer over a whole split, and the share told rightly."""
        asked = sums["weight"]
        return {"loss": sums["nats"] / asked, "accuracy": sums["correct"] / asked}
