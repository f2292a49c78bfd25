"""Find the part of a passage that answers a question."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from lm_jax.bounds import within
from lm_jax.objectives.base import ObjectiveBase
from lm_jax.objectives.sums import Sums, applied, penalties
from lm_jax.tokenizers.chunks import Coded


@dataclass(frozen=True)
class FindSpan(ObjectiveBase):
    """Cross-entropy of an answer's first token and of its last (Devlin et al. 2019).

    Both are chosen among the passage's tokens and the first of the row, which stands
    for no answer.

    Attributes:
        longest: tokens that an answer has at most, where one is told.
    """

    longest: int = within("[1, 2147483647]", 30)

    reads = ("inputs", "segments", "start", "end", "mask")
    may_read = ("matches",)
    unit = "nats per window"
    calls = {
        "features": ("segments", "matches", "dropout_keys"),
        "token_logits": (),
    }
    weighs = "mask"
    nothing = "no question of it has an answer that is known. Give it others"
    tells = "start"

    def predict(
        self,
        model: nn.Module,
        batch: dict[str, Array],
        carry: Any = None,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> tuple[Float[Array, "batch time 2"], Any]:
        """Give log-probabilities that an answer begins and ends with each token."""
        hidden, _ = model.features(
            batch["inputs"],
            segments=batch["segments"],
            matches=batch.get("matches"),
            dropout_keys=dropout_keys,
        )
        logits = model.token_logits(hidden)
        open_to = candidates(batch)[..., None]
        lowest = jnp.finfo(logits.dtype).min
        return jax.nn.log_softmax(jnp.where(open_to, logits, lowest), axis=1), carry

    def told(
        self, model: nn.Module, params: Any, batch: dict[str, Array]
    ) -> Float[Array, "batch 4"]:
        """Give what each window says, without dropout.

        Returns:
            The log-probability of no answer, that of the best span, and its first and
            last token.
        """
        (found, _), _ = applied(self, model, params, batch, None, None)
        return best_span(found, batch["segments"] == 2, self.longest)

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
            model: maps a row to features and these to two scores of a token.
            params: its parameters.
            batch: "inputs", "segments" and, where there are, "matches" (batch, time);
                "start", "end" and "mask" (batch,); "row" (batch,), the number of each
                example in the step's batch.
            key: of the step; None evaluates without dropout.
            carry: not used.

        Returns:
            Nats of both ends, over the number of windows.
        """
        (found, carry), sown = applied(self, model, params, batch, key, carry)
        ends = jnp.stack([batch["start"], batch["end"]], axis=-1)
        nats = -jnp.take_along_axis(found, ends[:, None], axis=1)[:, 0].sum(-1)
        mask = batch["mask"]
        total = (nats * mask).sum()
        right = (found.argmax(1) == ends).all(-1)
        metrics = {"nats": total, "correct": (right * mask).sum()}
        loss = total + penalties(sown, mask[:, None])
        return Sums(loss, mask.sum(), metrics, carry)

    def scores(self, sums: dict[str, float], text: Coded) -> dict[str, float]:
        """Give the nats of a window over a whole split, and the share told rightly."""
        windows = sums["weight"]
        return {"loss": sums["nats"] / windows, "accuracy": sums["correct"] / windows}


def candidates(batch: dict[str, Array]) -> Bool[Array, "batch time"]:
    """Say which tokens an answer may begin or end with: the first, and the passage's.

    Args:
        batch: "segments" (batch, time).
    """
    return (batch["segments"] == 2).at[:, 0].set(True)


def best_span(
    found: Float[Array, "batch time 2"],
    passage: Bool[Array, "batch time"],
    longest: int,
) -> Float[Array, "batch 4"]:
    """Choose the span whose ends have the largest sum.

    Args:
        found: log-probabilities of each token as the first and as the last.
        passage: which tokens a span may have.
        longest: tokens of a span at most.

    Returns:
        As `FindSpan.told`.
    """
    time = found.shape[1]
    length = jnp.arange(time) - jnp.arange(time)[:, None]
    able = (length >= 0) & (length < longest)
    able = able & passage[:, :, None] & passage[:, None, :]
    both = found[:, :, None, 0] + found[:, None, :, 1]
    flat = jnp.where(able, both, -jnp.inf).reshape(len(found), -1)
    best, place = flat.max(-1), flat.argmax(-1)
    none = found[:, 0].sum(-1)
    ends = jnp.stack([place // time, place % time], axis=-1).astype(found.dtype)
    return jnp.concatenate([none[:, None], best[:, None], ends], axis=-1)
