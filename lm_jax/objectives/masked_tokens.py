"""Predict the tokens that are hidden."""

from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from lm_jax.objectives.over_vocabulary import OverVocabulary
from lm_jax.objectives.scores import perplexity
from lm_jax.tokenizers.chunks import Coded


@dataclass(frozen=True)
class MaskedTokens(OverVocabulary):
    """Cross-entropy of hidden tokens given all others (Devlin et al. 2019, 3.1)."""

    reads: ClassVar[tuple[str, ...]] = (
        "inputs",
        "originals",
        "mask",
        "masked_positions",
    )
    may_read = ("segments",)
    calls = {"features": ("segments", "dropout_keys"), "logits": ()}
    causal = False
    weighs = "mask"
    nothing = (
        "no token of it is hidden. With data.whole_words a word is hidden only where "
        "data.rate of a window holds all of it: use a higher rate, longer windows "
        "(data.context), a longer text or --data.whole-words False"
    )

    def read(
        self,
        model: nn.Module,
        batch: dict[str, Array],
        carry: Any = None,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> tuple[Float[Array, "batch chosen width"], Any]:
        """Give the features of the hidden tokens; see `predict`."""
        hidden, _ = model.features(
            batch["inputs"], segments=batch.get("segments"), dropout_keys=dropout_keys
        )
        chosen = batch["masked_positions"][..., None]
        return jnp.take_along_axis(hidden, chosen, axis=1), carry

    def targets(
        self, batch: dict[str, Array]
    ) -> tuple[Int[Array, "batch chosen"], Float[Array, "batch chosen"]]:
        """Give the tokens that were hidden, and 1 where one counts."""
        chosen = batch["masked_positions"]
        targets = jnp.take_along_axis(batch["originals"], chosen, axis=1)
        return targets, jnp.take_along_axis(batch["mask"], chosen, axis=1)

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
