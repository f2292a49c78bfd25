"""Predict the tokens that are hidden."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from lm_jax.data.encoding import Coded
from lm_jax.objectives.base import ObjectiveBase
from lm_jax.objectives.scores import perplexity
from lm_jax.objectives.sums import Sums, applied, penalties


@dataclass(frozen=True)
class MaskedTokens(ObjectiveBase):
    """Cross-entropy of hidden tokens given all others (Devlin et al. 2019, 3.1)."""

    reads = ("inputs", "originals", "mask", "masked_positions")
    may_read = ("segments",)
    calls = {"features": ("segments", "dropout_keys"), "logits": ()}
    causal = False
    weighs = "mask"
    nothing = (
        "no token of it is hidden. With data.whole_words a word is hidden only where "
        "data.rate of a window holds all of it: use a higher rate, longer windows "
        "(data.context), a longer text or --data.whole-words False"
    )

    def predict(
        self,
        model: nn.Module,
        batch: dict[str, Array],
        carry: Any = None,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> tuple[Float[Array, "batch chosen vocab"], Any]:
        """Give the logits of the hidden tokens; see `NextToken.predict`."""
        hidden, _ = model.features(
            batch["inputs"], segments=batch.get("segments"), dropout_keys=dropout_keys
        )
        chosen = batch["masked_positions"][..., None]
        return model.logits(jnp.take_along_axis(hidden, chosen, axis=1)), carry

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
            model: maps tokens to features and these to logits, and sees the whole
                text.
            params: its parameters.
            batch: of a MaskedStream: "inputs", "originals" and "mask" (batch, time);
                "masked_positions" (batch, chosen), which tokens are predicted; "row"
                (batch,), the number of each example in the step's batch; perhaps
                "segments".
            key: of the step; None evaluates without dropout.
            carry: not used.

        Returns:
            Nats, over the number of hidden tokens.
        """
        (logits, carry), sown = applied(self, model, params, batch, key, carry)
        chosen = batch["masked_positions"]
        targets = jnp.take_along_axis(batch["originals"], chosen, axis=1)
        mask = jnp.take_along_axis(batch["mask"], chosen, axis=1)
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
        nats_sum = (nats * mask).sum()
        correct = ((logits.argmax(-1) == targets) * mask).sum()
        return Sums(
            nats_sum + penalties(sown, mask),
            mask.sum(),
            {"nats": nats_sum, "correct": correct},
            carry,
        )

    def scores(self, sums: dict[str, float], text: Coded) -> dict[str, float]:
        """Give nats, accuracy and perplexity of the hidden tokens of a split."""
        tokens = sums["weight"]
        loss = sums["nats"] / tokens
        return {
            "loss": loss,
            "masked_accuracy": sums["correct"] / tokens,
            "perplexity": perplexity(loss),
            "tokens": int(sums["weight"]),
        }
