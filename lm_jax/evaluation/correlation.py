"""How well numbers are told: their correlation with those that were given."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from lm_jax.errors import UserError
from lm_jax.evaluation.fitted import Fitted, Found, Planned, Progress


@dataclass(frozen=True)
class Correlation:
    """Pearson's and Spearman's correlation of numbers told and given.

    Attributes:
        every: how often; None is whenever the watched evaluation is made.
    """

    every: str | None = None

    watched: ClassVar[str] = "spearman"
    larger_is_better: ClassVar[bool] = True

    def run(
        self, fitted: Fitted, split: str, progress: Progress | None = None
    ) -> Found:
        """Score a whole split, each text once.

        One number for all texts is no correlation: then both are 0.

        Raises:
            UserError: when no numbers are told.
        """
        from scipy.stats import pearsonr, spearmanr  # as in `similarity`

        expected, found, names = fitted.predictions(split, progress)
        if names:
            raise UserError(_NO_NUMBERS)
        told = found[:, 0]
        if len(told) < 2 or told.min() == told.max() or len({*expected}) < 2:
            return Found({"pearson": 0.0, "spearman": 0.0})
        return Found(
            {
                "pearson": float(pearsonr(expected, told).statistic),
                "spearman": float(spearmanr(expected, told).statistic),
            }
        )

    def unfit(self, planned: Planned) -> Iterator[str]:
        """Say why it can't be made."""
        if planned.tells != "value":
            yield _NO_NUMBERS


_NO_NUMBERS = (
    "Correlation is of numbers: train by Regress() on Rated texts, or by "
    "CosineSimilarity() on RatedPairs."
)
