"""Predict the next token."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from lm_jax.models.dropout import example_keys

Sums = tuple[Float[Array, ""], Float[Array, ""], dict[str, Float[Array, ""]]]


@dataclass(frozen=True)
class NextToken:
    """Cross-entropy of each token given those before it (Bengio et al. 2003).

    Attributes:
        z_loss: weight of the squared log-normaliser (Chowdhery et al. 2022, 5).
    """

    z_loss: float = 0.0

    def __call__(
        self,
        model: nn.Module,
        params: Any,
        batch: dict[str, Array],
        key: Key[Array, ""] | None,
    ) -> Sums:
        """Sum the loss of a batch.

        Args:
            model: maps tokens to logits.
            params: its parameters.
            batch: "inputs" and "targets" (batch, time); "row" (batch,), the
                number of each example in the step's batch; perhaps "mask"
                (batch, time), "segments" and "positions".
            key: of the step; None evaluates without dropout.

        Returns:
            The summed loss in nats, the weight it is summed over (tokens), and
            summed metrics.
        """
        noise = None if key is None else example_keys(key, batch["row"])
        logits, _ = model.apply(
            {"params": params},
            batch["inputs"],
            positions=batch.get("positions"),
            segments=batch.get("segments"),
            noise=noise,
        )
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, batch["targets"])
        mask = batch.get("mask", jnp.ones_like(nats))
        nats_sum = (nats * mask).sum()
        loss = nats_sum
        if self.z_loss and key is not None:
            squares = jnp.square(jax.nn.logsumexp(logits, axis=-1))
            loss = loss + self.z_loss * (squares * mask).sum()
        return loss, mask.sum(), {"nats": nats_sum}
