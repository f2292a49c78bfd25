"""Predict the next token."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from lm_jax.bounds import within
from lm_jax.data.encoding import Coded
from lm_jax.objectives.base import ObjectiveBase
from lm_jax.objectives.scores import likelihood
from lm_jax.objectives.sums import Sums, applied, penalties


@dataclass(frozen=True)
class NextToken(ObjectiveBase):
    """Cross-entropy of each token given those before it (Bengio et al. 2003).

    Attributes:
        z_loss: weight of the squared log-normaliser (Chowdhery et al. 2022, 5).
    """

    z_loss: float = within("[0, inf)", 0.0)

    may_read = ("mask", "positions", "segments", "weight")
    calls = {
        "features": ("positions", "segments", "cache", "dropout_keys"),
        "logits": (),
    }
    causal = True
    generates = True
    weighs = "mask"
    nothing = "none of its tokens follows another. Use a longer text"

    def predict(
        self,
        model: nn.Module,
        batch: dict[str, Array],
        carry: Any = None,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> tuple[Float[Array, "batch time vocab"], Any]:
        """Give the logits of a batch, and what is carried to the next one.

        Args:
            model: bound to its parameters.
            batch: as of a call.
            carry: what is left of the batch before, if it is carried.
            dropout_keys: one for each example; None is no dropout.
        """
        hidden, carry = model.features(
            batch["inputs"],
            positions=batch.get("positions"),
            segments=batch.get("segments"),
            cache=carry,
            dropout_keys=dropout_keys,
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
            model: maps tokens to features and these to logits.
            params: its parameters.
            batch: "inputs" and "targets" (batch, time); "row" (batch,), the
                number of each example in the step's batch; perhaps "mask"
                (batch, time), "segments", "positions", and "weight" (batch,), what
                to divide by instead of the number of targets.
            key: of the step; None evaluates without dropout.
            carry: what is left of the batch before, if it is carried.
        """
        (logits, carry), sown = applied(self, model, params, batch, key, carry)
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, batch["targets"])
        mask = batch.get("mask", jnp.ones_like(nats))
        nats_sum = (nats * mask).sum()
        loss = nats_sum + penalties(sown, mask)
        if self.z_loss and key is not None:
            squares = jnp.square(jax.nn.logsumexp(logits, axis=-1))
            loss = loss + self.z_loss * (squares * mask).sum()
        # A segment of varied length is divided by the usual one (Merity et al.
        # 2018, 4.2: the learning rate grows with the segment).
        weight = batch["weight"].sum() if "weight" in batch else mask.sum()
        return Sums(loss, weight, {"nats": nats_sum}, carry)

    def scores(self, sums: dict[str, float], text: Coded) -> dict[str, float]:
        """Give nats per token, perplexity and bits per byte of a whole split."""
        return likelihood(sums["nats"], sums["weight"], text)
