"""Tell the class of a text."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import optax
from jaxtyping import Array, Float, Int, Key

from lm_jax.bounds import within
from lm_jax.kernels.loss import smoothed
from lm_jax.models.dropout import drops, example_keys
from lm_jax.objectives.base import ObjectiveBase
from lm_jax.objectives.guide import Lesson
from lm_jax.objectives.regularised import divergence, mixing, second
from lm_jax.objectives.sums import Sums, applied, penalties
from lm_jax.tokenizers.chunks import Coded


@dataclass(frozen=True)
class Classify(ObjectiveBase):
    """Cross-entropy of the label of each text (Kim 2014).

    The fields are for training; an evaluation is of the plain cross-entropy.

    Attributes:
        label_smoothing: share of each label that is spread over all classes (Szegedy
            et al. 2016, 7).
        r_drop: weight of how far two passes with other dropout are apart (Liang et al.
            2021, eq. 2): half the sum of both divergences. The loss is then the mean of
            both passes', and a step takes twice as long; 0 makes one pass.
        mixup: texts' vectors are mixed with those of other texts of the batch, in
            shares of Beta(mixup, mixup), and so are their losses (senMixup, Guo et al.
            2019, eq. 3 to 5); 0 mixes none.
    """

    label_smoothing: float = within("[0, 1)", 0.0)
    r_drop: float = within("[0, inf)", 0.0)
    mixup: float = within("[0, inf)", 0.0)

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

    @property
    def across_rows(self) -> str:
        """The field that makes rows of a batch meet: mixup's."""
        return "mixup" if self.mixup else ""

    def problems(self) -> Iterator[str]:
        """Say why these fields can't be together."""
        if self.r_drop and self.mixup:
            yield (
                "objective.r_drop compares two passes of one text, and objective.mixup "
                "mixes texts: use one of them."
            )

    def unsuited(self, model: Any) -> Iterator[str]:
        """Say that two passes without dropout are the same."""
        if self.r_drop and not drops(model):
            yield (
                "objective.r_drop compares two passes with other dropout, and the "
                "model has none. Give it some (--model.dropout 0.1), or leave r_drop "
                "out."
            )

    def read(
        self,
        model: nn.Module,
        batch: dict[str, Array],
        carry: Any = None,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> tuple[Float[Array, "batch width"], Any]:
        """Give a vector of each text; see `predict`."""
        hidden, _ = model.features(
            batch["inputs"], segments=batch["segments"], dropout_keys=dropout_keys
        )
        return hidden, carry

    def predict(
        self,
        model: nn.Module,
        batch: dict[str, Array],
        carry: Any = None,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> tuple[Float[Array, "batch classes"], Any]:
        """Give the logits of the classes; see `OverVocabulary.predict`."""
        hidden, carry = self.read(model, batch, carry, dropout_keys)
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
        (hidden, carry), sown = applied(
            self, model, params, batch, key, carry, self.read
        )
        label, mask = batch["label"], batch["mask"]
        logits = _logits(model, params, hidden)
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, label)
        loss = total = (nats * mask).sum()
        penalty = penalties(sown, mask[:, None])
        if key is not None and self.mixup:
            loss = (self._mixed(model, params, batch, key, hidden) * mask).sum()
        elif key is not None and self.r_drop:
            loss, more = self._twice(model, params, batch, key, logits)
            penalty = (penalty + more) / 2
        elif key is not None and self.label_smoothing:
            loss = (self._nats(logits, label) * mask).sum()
        correct = ((logits.argmax(-1) == label) * mask).sum()
        if lesson is not None:
            taught, _ = lesson.teacher.apply(batch, method=self.predict)
            loss = lesson.mixed(loss, logits, taught, mask)
        metrics = {"nats": total, "correct": correct}
        return Sums(loss + penalty, mask.sum(), metrics, carry)

    def _nats(
        self, logits: Float[Array, "batch classes"], label: Int[Array, " batch"]
    ) -> Float[Array, " batch"]:
        """Give the nats of each label, smoothed."""
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, label)
        if not self.label_smoothing:
            return nats
        normaliser = jax.nn.logsumexp(logits, axis=-1)
        return smoothed(nats, normaliser, logits, self.label_smoothing)

    def _twice(
        self,
        model: nn.Module,
        params: Any,
        batch: dict[str, Array],
        key: Key[Array, ""],
        logits: Float[Array, "batch classes"],
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Sum the loss of two passes and how far they are apart; and the penalties."""
        label, mask = batch["label"], batch["mask"]
        keys = batch, second(key)
        (hidden, _), sown = applied(self, model, params, *keys, None, self.read)
        others = _logits(model, params, hidden)
        both = self._nats(logits, label) + self._nats(others, label)
        apart = self.r_drop * divergence(logits, others)
        loss = ((both / 2 + apart) * mask).sum()
        return loss, penalties(sown, mask[:, None])

    def _mixed(
        self,
        model: nn.Module,
        params: Any,
        batch: dict[str, Array],
        key: Key[Array, ""],
        hidden: Float[Array, "batch width"],
    ) -> Float[Array, " batch"]:
        """Give the nats of each text mixed with another."""
        keys = example_keys(key, batch["row"])
        other, share = mixing(batch["mask"], keys, self.mixup)
        mixed = share[:, None] * hidden + (1 - share)[:, None] * hidden[other]
        logits, label = _logits(model, params, mixed), batch["label"]
        own, others = self._nats(logits, label), self._nats(logits, label[other])
        return share * own + (1 - share) * others

    def scores(self, sums: dict[str, float], text: Coded) -> dict[str, float]:
        """Give the nats of a label over a whole split, and the share told rightly."""
        texts = sums["weight"]
        return {"loss": sums["nats"] / texts, "accuracy": sums["correct"] / texts}


def _logits(
    model: nn.Module, params: Any, hidden: Float[Array, "batch width"]
) -> Float[Array, "batch classes"]:
    """Score each class from the vectors of texts."""
    logits: Any = model.apply({"params": params}, hidden, method="class_logits")
    return logits
