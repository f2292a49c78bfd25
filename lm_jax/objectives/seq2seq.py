"""Predict a text from another text."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import optax
from jaxtyping import Array, Float, Key

from lm_jax.bounds import within
from lm_jax.data.encoding import Coded
from lm_jax.objectives.base import ObjectiveBase
from lm_jax.objectives.scores import perplexity
from lm_jax.objectives.sums import Sums, applied, penalties


@dataclass(frozen=True)
class Seq2Seq(ObjectiveBase):
    """Cross-entropy of a target given its source (Sutskever et al. 2014).

    Attributes:
        label_smoothing: share of each training target that is spread over the
            whole vocabulary (Szegedy et al. 2016, 7).
    """

    label_smoothing: float = within("[0, 1)", 0.0)

    reads = ("source", "decoder_inputs", "targets", "mask")
    may_read = ("source_mask",)
    calls = {"features": ("dropout_keys", "source", "source_mask"), "logits": ()}
    causal = True
    weighs = "mask"
    nothing = "none of its sources has a target. Use a longer text"

    def predict(
        self,
        model: nn.Module,
        batch: dict[str, Array],
        carry: Any = None,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> tuple[Float[Array, "batch target vocab"], Any]:
        """Give the logits of the targets; see `NextToken.predict`."""
        hidden, _ = model.features(
            batch["decoder_inputs"],
            dropout_keys=dropout_keys,
            source=batch["source"],
            source_mask=batch.get("source_mask"),
        )
        return model.logits(hidden), carry

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
            model: maps a source and what was written to logits of what follows.
            params: its parameters.
            batch: "source" (batch, source); "decoder_inputs",
                "targets" and "mask" (batch, target); "row" (batch,), the number of
                each example in the step's batch; perhaps "source_mask", true where
                the source has a token.
            key: of the step; None evaluates without dropout and smoothing.
            carry: not used.

        Returns:
            Nats, over the number of targets.
        """
        (logits, carry), sown = applied(self, model, params, batch, key, carry)
        targets, mask = batch["targets"], batch["mask"]
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
        nats_sum = (nats * mask).sum()
        loss = nats_sum + penalties(sown, mask)
        if self.label_smoothing and key is not None:
            # Nats of a target that any token is as likely to be.
            even = jax.nn.logsumexp(logits, axis=-1) - logits.mean(-1)
            loss = loss + self.label_smoothing * ((even - nats) * mask).sum()
        correct = ((logits.argmax(-1) == targets) * mask).sum()
        metrics = {"nats": nats_sum, "correct": correct}
        return Sums(loss, mask.sum(), metrics, carry)

    def scores(self, sums: dict[str, float], text: Coded) -> dict[str, float]:
        """Give nats, perplexity and accuracy of the targets of a split."""
        tokens = sums["weight"]
        loss = sums["nats"] / tokens
        return {
            "loss": loss,
            "perplexity": perplexity(loss),
            "accuracy": sums["correct"] / tokens,
            "tokens": int(sums["weight"]),
        }
