"""Prefer one of two answers to the other."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from lm_jax.bounds import within
from lm_jax.errors import UserError
from lm_jax.kernels.loss import nats_in_pieces
from lm_jax.objectives.base import ObjectiveBase
from lm_jax.objectives.guide import Guide
from lm_jax.objectives.sums import Sums, applied, penalties
from lm_jax.tokenizers.chunks import Coded


@dataclass(frozen=True)
class Preference(ObjectiveBase):
    """Direct preference optimization (Rafailov et al. 2023, equation 7).

    The implicit reward of an answer is ``beta`` times the logarithm of how much more
    likely it is than under the reference (equation 5, but for what both share).

    Attributes:
        reference: the run that the preferred answers are to be compared with: as a
            rule the one that the model begins with.
        beta: how much a departure from the reference costs.
    """

    reference: str = ""
    beta: float = within("(0, inf)", 0.1)

    reads = ("pair_inputs", "pair_targets", "pair_mask")
    calls = {"features": ("dropout_keys",), "logits": ()}
    causal = True
    generates = True
    weighs = "pair_mask"
    nothing = "no pair of it has an answer. Give it pairs of answers"
    unit = "nats per pair"
    guide = "reference"
    guided_scores = True

    def predict(
        self,
        model: nn.Module,
        batch: dict[str, Array],
        carry: Any = None,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> tuple[Float[Array, "rows time vocab"], Any]:
        """Give the logits of all answers: two rows a pair, the chosen one first."""
        hidden, _ = self.read(model, batch, carry, dropout_keys)
        return model.logits(hidden), carry

    def read(
        self,
        model: nn.Module,
        batch: dict[str, Array],
        carry: Any = None,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> tuple[Float[Array, "rows time width"], Any]:
        """Give the features of all answers; both of a pair have the same dropout."""
        if dropout_keys is not None:
            dropout_keys = jnp.repeat(dropout_keys, 2, axis=0)
        inputs = _rows(batch["pair_inputs"])
        hidden, _ = model.features(inputs, dropout_keys=dropout_keys)
        return hidden, carry

    def __call__(
        self,
        model: nn.Module,
        params: Any,
        batch: dict[str, Array],
        key: Key[Array, ""] | None,
        carry: Any = None,
        guide: Guide | None = None,
    ) -> Sums:
        """Sum the loss of a batch.

        Args:
            model: has features, and maps these to logits.
            params: its parameters.
            batch: "pair_inputs", "pair_targets" and "pair_mask" (batch, 2, time), the
                chosen answer first; the mask is 1 at the targets of an answer.
            key: of the step; None evaluates without dropout.
            carry: not used.
            guide: the reference.

        Returns:
            Nats, over the number of pairs.

        Raises:
            UserError: there is no reference.
        """
        if guide is None:
            raise UserError(
                "Preference compares with a reference, and there is none here. A run "
                "of it is scored by `evaluate`."
            )
        (hidden, carry), sown = applied(
            self, model, params, batch, key, carry, self.read
        )
        likely = self._likely(Guide(model, params), hidden, batch)
        theirs, _ = guide.apply(batch, method=self.read)
        reward = self.beta * (likely - self._likely(guide, theirs, batch))
        margin = reward[:, 0] - reward[:, 1]
        mask = jnp.asarray(batch["pair_mask"].any((1, 2)), jnp.float32)
        # A tie is neither right nor wrong: as at the start, from the reference.
        right = jnp.where(margin == 0, 0.5, margin > 0)
        sums = {"nats": -jax.nn.log_sigmoid(margin), "correct": right, "margin": margin}
        metrics = {name: (each * mask).sum() for name, each in sums.items()}
        loss = metrics["nats"] + penalties(sown, mask[:, None])
        return Sums(loss, mask.sum(), metrics, carry)

    def _likely(
        self, of: Guide, hidden: Float[Array, "rows time width"], batch: dict
    ) -> Float[Array, "batch 2"]:
        """Give the log-probability of each answer, summed over its tokens."""
        targets, mask = (_rows(batch[name]) for name in ("pair_targets", "pair_mask"))

        def logits(hidden: Array) -> Array:
            return of.apply(hidden, method="logits")

        nats = nats_in_pieces(logits, hidden, targets, of.model.vocab_size)
        return -(nats * mask).sum(-1).reshape(-1, 2)

    def scores(self, sums: dict[str, float], text: Coded) -> dict[str, float]:
        """Give the loss, the share of pairs preferred rightly, the mean margin.

        The margin is the implicit reward of the chosen answer less the other's.
        """
        pairs = sums["weight"]
        return {
            "loss": sums["nats"] / pairs,
            "accuracy": sums["correct"] / pairs,
            "margin": sums["margin"] / pairs,
        }


def _rows(array: Array) -> Array:
    """(batch, 2, time) to (2 batch, time)."""
    return array.reshape(-1, array.shape[-1])
