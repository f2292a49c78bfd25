"""Sums over a whole split, as the objective counts them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from lm_jax.errors import UserError
from lm_jax.evaluation.fitted import Fitted, Found, Planned, Progress


@dataclass(frozen=True)
class Likelihood:
    """The objective's own scores over a whole split, each token once.

    Of a language model: nats per token, perplexity and bits per byte.

    Attributes:
        every: how often; None is whenever the watched evaluation is made.
    """

    every: str | None = None

    watched: ClassVar[str] = "loss"
    """The score that schedule, patience and the best checkpoint can go by."""
    larger_is_better: ClassVar[bool] = False

    def run(
        self, fitted: Fitted, split: str, progress: Progress | None = None
    ) -> Found:
        """Score a whole split."""
        return Found(fitted.score(split, progress))


@dataclass(frozen=True)
class Accuracy:
    """The share of the targets of a whole split that are predicted right.

    For objectives that count them: masked tokens, targets of sources, labels.

    Attributes:
        every: how often; None is whenever the watched evaluation is made.
    """

    every: str | None = None

    watched: ClassVar[str] = "accuracy"
    larger_is_better: ClassVar[bool] = True

    def run(
        self, fitted: Fitted, split: str, progress: Progress | None = None
    ) -> Found:
        """Score a whole split.

        Raises:
            UserError: when the objective doesn't count what is right.
        """
        scores = fitted.score(split, progress)
        for problem in _uncounted(scores):
            raise UserError(problem)
        right = [value for name, value in scores.items() if name.endswith("accuracy")]
        return Found({"accuracy": right[0]})

    def unfit(self, planned: Planned) -> Iterator[str]:
        """Say why it can't be made."""
        yield from _uncounted(planned.scores())


def _uncounted(scores: Iterable[str]) -> Iterator[str]:
    if not any(name.endswith("accuracy") for name in scores):
        yield (
            "Accuracy counts what is predicted right, and this objective gives "
            f"{', '.join(scores)}. Use Likelihood()."
        )
