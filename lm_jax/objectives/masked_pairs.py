"""Predict the tokens hidden in two texts, and whether one follows the other."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from lm_jax.kernels.loss import in_pieces
from lm_jax.objectives.guide import Lesson
from lm_jax.objectives.masked_tokens import MaskedTokens
from lm_jax.objectives.scores import perplexity
from lm_jax.objectives.sums import Sums, applied, penalties
from lm_jax.tokenizers.chunks import Coded


@dataclass(frozen=True)
class MaskedPairs(MaskedTokens):
    """The nats of a hidden token, and those of whether the second text follows.

    The loss is the mean of the first and the mean of the second, added up (Devlin et
    al. 2019, A.2); of the second, each row counts as often as it has hidden tokens.
    With `SentencePairs` (swap="order") it is ALBERT's (Lan et al. 2020).
    """

    reads = (*MaskedTokens.reads, "types", "swapped")
    unit = "nats per hidden token and pair"
    calls = {
        "features": ("segments", "types", "dropout_keys"),
        "logits": (),
        "pair_logits": (),
    }

    def unsuited(self, model: nn.Module) -> Iterator[str]:
        """Say that there is no vector for the tokens of the second text."""
        if model.segment_types == 1:
            yield (
                "MaskedPairs tells two texts apart, and model.segment_types=1 has a "
                "vector for one. Give 2, or 0 for none."
            )

    def read_both(
        self,
        model: nn.Module,
        batch: dict[str, Array],
        carry: Any = None,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> tuple[tuple[Float[Array, "batch chosen width"], Float[Array, "batch 2"]], Any]:
        """Give the features of the hidden tokens, and the logits of each pair."""
        hidden, _ = model.features(
            batch["inputs"],
            segments=batch.get("segments"),
            types=batch["types"],
            dropout_keys=dropout_keys,
        )
        chosen = batch["masked_positions"][..., None]
        found = jnp.take_along_axis(hidden, chosen, axis=1)
        return (found, model.pair_logits(hidden)), carry

    def predict(
        self,
        model: nn.Module,
        batch: dict[str, Array],
        carry: Any = None,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> tuple[Any, Any]:
        """Give the logits of the hidden tokens, and those of each pair."""
        (hidden, pairs), carry = self.read_both(model, batch, carry, dropout_keys)
        return (model.logits(hidden), pairs), carry

    def __call__(
        self,
        model: nn.Module,
        params: Any,
        batch: dict[str, Array],
        key: Key[Array, ""] | None,
        carry: Any = None,
        lesson: Lesson | None = None,
    ) -> Sums:
        """Sum both losses of a batch.

        Args:
            model: has features, and maps these to logits, and to those of pairs.
            params: its parameters.
            batch: what the objective ``reads`` and ``may_read``; "row" (batch,), the
                number of each example in the step's batch.
            key: of the step; None evaluates without dropout.
            carry: not used.
            lesson: None: pairs have no teacher.

        Returns:
            Nats, over the number of hidden tokens.
        """
        ((hidden, pairs), carry), sown = applied(
            self, model, params, batch, key, carry, self.read_both
        )
        targets, mask = self.targets(batch)

        def of_piece(hidden: Array, targets: Array, mask: Array) -> Any:
            logits: Any = model.apply({"params": params}, hidden, method="logits")
            return self.sums(logits, targets, mask, key is not None)

        loss, metrics = in_pieces(
            of_piece, hidden, targets, mask, vocab_size=model.vocab_size
        )
        swapped, chosen = batch["swapped"], mask.sum(-1)
        nats = optax.softmax_cross_entropy_with_integer_labels(pairs, swapped)
        real = (chosen > 0).astype(jnp.float32)
        metrics = metrics | {
            "pairs": real.sum(),
            "pair_nats": (nats * real).sum(),
            "pairs_correct": ((pairs.argmax(-1) == swapped) * real).sum(),
        }
        loss = loss + (nats * chosen).sum() + penalties(sown, mask)
        return Sums(loss, mask.sum(), metrics, carry)

    def scores(self, sums: dict[str, float], text: Coded) -> dict[str, float]:
        """Give both losses and accuracies of a split; the loss is their sum."""
        tokens, pairs = sums["weight"], sums["pairs"]
        masked, paired = sums["nats"] / tokens, sums["pair_nats"] / pairs
        return {
            "loss": masked + paired,
            "masked_loss": masked,
            "masked_accuracy": sums["correct"] / tokens,
            "perplexity": perplexity(masked),
            "pair_loss": paired,
            "pair_accuracy": sums["pairs_correct"] / pairs,
            "tokens": int(tokens),
        }
