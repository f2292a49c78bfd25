"""Tell the class of a text."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import optax
from jaxtyping import Array, Float, Key

from lm_jax.data.encoding import Coded
from lm_jax.objectives.base import ObjectiveBase
from lm_jax.objectives.guide import Lesson
from lm_jax.objectives.sums import Sums, applied, penalties


@dataclass(frozen=True)
class Classify(ObjectiveBase):
    """Cross-entropy of the label of each text (Kim 2014)."""

    reads = ("inputs", "segments", "label", "mask")
    unit = "nats per text"
    calls = {
        "features": ("segments", "dropout_keys"),
        "class_logits": (),
        "with_classes": (),
    }
    weighs = "mask"
    nothing = "no text of it has a label that counts. Give it labelled texts"
    tells = "label"

    def predict(
        self,
        model: nn.Module,
        batch: dict[str, Array],
        carry: Any = None,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> tuple[Float[Array, "batch classes"], Any]:
        """Give the logits of the classes; see `OverVocabulary.predict`."""
        hidden, _ = model.features(
            batch["inputs"], segments=batch["segments"], dropout_keys=dropout_keys
        )
        return model.class_logits(hidden), carry

    def told(
        self, model: nn.Module, params: Any, batch: dict[str, Array]
    ) -> Float[Array, "batch classes"]:
        """Give the log-probabilities of the classes of each text, without dropout."""
        (logits, _), _ = applied(self, model, params, batch, None, None)
        return jax.nn.log_softmax(logits)

    def __call__(
        self,
        model: nn.Module,
        params: Any,
        batch: dict[str, Array],
        key: Key[Array, ""] | None,
        carry: Any = None,
        lesson: Lesson | None = None,
    ) -> Sums:
        """Sum the loss of a batch.

        Args:
            model: maps a text to features and these to logits of classes.
            params: its parameters.
            batch: "inputs" and "segments" (batch, time); "label" and "mask" (batch,);
                "row" (batch,), the number of each example in the step's batch.
            key: of the step; None evaluates without dropout.
            carry: not used.
            lesson: of a teacher, if there is one.

        Returns:
            Nats, over the number of texts.
        """
        (logits, carry), sown = applied(self, model, params, batch, key, carry)
        label, mask = batch["label"], batch["mask"]
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, label)
        total = (nats * mask).sum()
        correct = ((logits.argmax(-1) == label) * mask).sum()
        loss = total
        if lesson is not None:
            taught, _ = lesson.teacher.apply(batch, method=self.predict)
            loss = lesson.mixed(total, logits, taught, mask)
        loss = loss + penalties(sown, mask[:, None])
        return Sums(loss, mask.sum(), {"nats": total, "correct": correct}, carry)

    def scores(self, sums: dict[str, float], text: Coded) -> dict[str, float]:
        """Give the nats of a label over a whole split, and the share told rightly."""
        texts = sums["weight"]
        return {"loss": sums["nats"] / texts, "accuracy": sums["correct"] / texts}
