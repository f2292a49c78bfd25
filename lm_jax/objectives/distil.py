"""Learn from the distribution of a model that has learnt, beside the targets."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
from jaxtyping import Array, Key

from lm_jax.bounds import within
from lm_jax.objectives.base import ObjectiveBase
from lm_jax.objectives.classify import Classify
from lm_jax.objectives.guide import Guide, Lesson
from lm_jax.objectives.masked_pairs import MaskedPairs
from lm_jax.objectives.masked_tokens import MaskedTokens
from lm_jax.objectives.next_token import NextToken
from lm_jax.objectives.seq2seq import Seq2Seq
from lm_jax.objectives.sums import Sums

# What it says of itself is what the objective says that it wraps.
_SAME = (
    *("reads", "may_read", "calls", "causal", "generates", "weighs", "nothing"),
    *("tells", "unit", "predict", "scores"),
)


@dataclass(frozen=True)
class Distil(ObjectiveBase):
    """Distillation: (1 - share) * loss + share * T^2 * KL(teacher || student), in
    nats at the temperature T (Hinton et al. 2015, 2).

    Its scores are those of the objective alone, so that a model that was taught is
    compared with one that wasn't.

    Attributes:
        of: the objective, which gives the loss of the targets.
        teacher: a run's directory. Its model may be of another family, and has the
            same tokens or classes.
        temperature: that both models' logits are divided by.
        share: of the loss that the teacher has.
    """

    of: NextToken | MaskedTokens | Seq2Seq | Classify = NextToken()
    teacher: str = ""
    temperature: float = within("(0, inf)", 2.0)
    share: float = within("[0, 1]", 0.5)

    guide = "teacher"

    def __post_init__(self) -> None:
        """Say of itself what the objective says."""
        for name in _SAME:
            object.__setattr__(self, name, getattr(self.of, name))
        if self.of.tells:
            object.__setattr__(self, "told", self.of.told)

    @property
    def across_rows(self) -> str:
        """The objective's field that makes rows of a batch meet."""
        field = self.of.across_rows
        return f"of.{field}" if field else ""

    def problems(self) -> Iterator[str]:
        """Say what the objective says, and that pairs have no teacher."""
        yield from self.of.problems()
        if isinstance(self.of, MaskedPairs):
            yield "objective.of=MaskedPairs has no teacher: distil MaskedTokens."

    def unsuited(self, model: Any) -> Iterator[str]:
        """Say what the objective says of the model."""
        yield from self.of.unsuited(model)

    def __call__(
        self,
        model: nn.Module,
        params: Any,
        batch: dict[str, Array],
        key: Key[Array, ""] | None,
        carry: Any = None,
        guide: Guide | None = None,
    ) -> Sums:
        """Sum the loss of a batch; see the objective that is wrapped.

        Args:
            model, params, batch, key, carry: as of that objective.
            guide: the teacher; an evaluation does without.
        """
        if key is None or guide is None:
            return self.of(model, params, batch, key, carry)
        lesson = Lesson(guide, self.temperature, self.share)
        return self.of(model, params, batch, key, carry, lesson)
