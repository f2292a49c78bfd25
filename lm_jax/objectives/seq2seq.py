"""Predict a text from another text."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float, Int, Key

from lm_jax.bounds import within
from lm_jax.kernels.loss import PieceSums, cross_entropy, smoothed
from lm_jax.objectives.over_vocabulary import OverVocabulary
from lm_jax.objectives.scores import perplexity
from lm_jax.tokenizers.chunks import Coded


@dataclass(frozen=True)
class Seq2Seq(OverVocabulary):
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
    generates = True
    weighs = "mask"
    nothing = "none of its sources has a target. Use a longer text"

    def read(
        self,
        model: nn.Module,
        batch: dict[str, Array],
        carry: Any = None,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> tuple[Float[Array, "batch target width"], Any]:
        """Give the features of the targets; see `predict`."""
        hidden, _ = model.features(
            batch["decoder_inputs"],
            dropout_keys=dropout_keys,
            source=batch["source"],
            source_mask=batch.get("source_mask"),
        )
        return hidden, carry

    def sums(
        self,
        logits: Float[Array, "batch target vocab"],
        targets: Int[Array, "batch target"],
        mask: Float[Array, "batch target"],
        training: bool,
    ) -> PieceSums:
        """Sum nats, smoothed in training, and the tokens that were told rightly."""
        nats, normaliser = cross_entropy(logits, targets)
        loss = nats_sum = (nats * mask).sum()
        if self.label_smoothing and training:
            smooth = smoothed(nats, normaliser, logits, self.label_smoothing)
            loss = (smooth * mask).sum()
        correct = ((logits.argmax(-1) == targets) * mask).sum()
        return loss, {"nats": nats_sum, "correct": correct}

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
