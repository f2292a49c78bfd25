"""Predict the next token."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from lm_jax.bounds import within
from lm_jax.kernels.loss import PieceSums, cross_entropy, smoothed
from lm_jax.objectives.over_vocabulary import OverVocabulary
from lm_jax.objectives.scores import likelihood
from lm_jax.tokenizers.chunks import Coded


@dataclass(frozen=True)
class NextToken(OverVocabulary):
    """Cross-entropy of each token given those before it (Bengio et al. 2003).

    Attributes:
        z_loss: weight of the squared log-normaliser (Chowdhery et al. 2022, 5).
        label_smoothing: share of each training target that is spread over the
            whole vocabulary (Szegedy et al. 2016, 7).
    """

    z_loss: float = within("[0, inf)", 0.0)
    label_smoothing: float = within("[0, 1)", 0.0)

    may_read = ("mask", "positions", "segments", "weight")
    calls = {
        "features": ("positions", "segments", "cache", "dropout_keys"),
        "logits": (),
    }
    causal = True
    generates = True
    weighs = "mask"
    nothing = "none of its tokens follows another. Use a longer text"

    def read(
        self,
        model: nn.Module,
        batch: dict[str, Array],
        carry: Any = None,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> tuple[Float[Array, "batch time width"], Any]:
        """Give the features of a batch, and what is carried; see `predict`."""
        return model.features(
            batch["inputs"],
            positions=batch.get("positions"),
            segments=batch.get("segments"),
            cache=carry,
            dropout_keys=dropout_keys,
        )

    def targets(
        self, batch: dict[str, Array]
    ) -> tuple[Int[Array, "batch time"], Float[Array, "batch time"]]:
        """Give the token after each token, and 1 where it counts."""
        targets = batch["targets"]
        ones = jnp.ones(targets.shape, jnp.float32)
        return targets, batch.get("mask", ones)

    def sums(
        self,
        logits: Float[Array, "batch time vocab"],
        targets: Int[Array, "batch time"],
        mask: Float[Array, "batch time"],
        training: bool,
    ) -> PieceSums:
        """Sum nats; in training smoothed, and with the normaliser's penalty."""
        nats, normaliser = cross_entropy(logits, targets)
        loss = nats_sum = (nats * mask).sum()
        if self.label_smoothing and training:
            smooth = smoothed(nats, normaliser, logits, self.label_smoothing)
            loss = (smooth * mask).sum()
        if self.z_loss and training:
            loss = loss + self.z_loss * (jnp.square(normaliser) * mask).sum()
        return loss, {"nats": nats_sum}

    def scores(self, sums: dict[str, float], text: Coded) -> dict[str, float]:
        """Give nats per token, perplexity and bits per byte of a whole split."""
        return likelihood(sums["nats"], sums["weight"], text)
