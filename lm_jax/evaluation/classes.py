"""How well classes are told apart: what accuracy alone hides."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int

from lm_jax.bounds import check, within
from lm_jax.errors import UserError
from lm_jax.evaluation.fitted import Fitted, Found, Planned, Progress

Confusion = Int[np.ndarray, "classes classes"]


@dataclass(frozen=True)
class ClassScores:
    """Accuracy, macro F1, Matthews' correlation, calibration and the confusion matrix.

    Attributes:
        bins: of the calibration error.
        every: how often; None is whenever the watched evaluation is made.
    """

    bins: int = within("[1, 1000]", 15)
    every: str | None = None

    watched: ClassVar[str] = "macro_f1"
    larger_is_better: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse no bins."""
        check(self, "evaluation")

    def run(
        self, fitted: Fitted, split: str, progress: Progress | None = None
    ) -> Found:
        """Score a whole split, each text once.

        Raises:
            UserError: when nothing tells classes.
        """
        expected, found, names = fitted.predictions(split, progress)
        if not names:
            raise UserError(_NO_CLASSES)
        counts = confusion(expected, found.argmax(1), len(names))
        scores = {
            "accuracy": float(np.trace(counts) / counts.sum()),
            "macro_f1": macro_f1(counts),
            "matthews": matthews(counts),
            "calibration_error": calibration_error(expected, found, self.bins),
        }
        matrix = {"labels": list(names), "counts": counts.tolist()}
        return Found(scores, more={"confusion": matrix})

    def unfit(self, planned: Planned) -> Iterator[str]:
        """Say why it can't be made."""
        if planned.tells != "label":
            yield _NO_CLASSES


_NO_CLASSES = (
    "ClassScores are of classes that are told apart: train by Classify(), or count "
    "by NaiveBayes(), on Labelled texts."
)


def confusion(
    expected: Int[np.ndarray, " texts"],
    predicted: Int[np.ndarray, " texts"],
    classes: int,
) -> Confusion:
    """Count how often a class (row) was taken for another (column)."""
    cells = expected * classes + predicted
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def macro_f1(counts: Confusion) -> float:
    """Give the mean of the classes' F1; scikit-learn's ``f1_score(average="macro")``.

    A class that is neither there nor predicted has no F1; one that is never told
    rightly has 0.

    Args:
        counts: by `confusion`.
    """
    both = counts.sum(0) + counts.sum(1)
    there = both > 0
    return float((2 * np.diag(counts)[there] / both[there]).mean())


def matthews(counts: Confusion) -> float:
    """Give the correlation of classes expected and predicted (Gorodkin 2004, eq. 8).

    0 where either is one class alone, as in scikit-learn's ``matthews_corrcoef``.

    Args:
        counts: by `confusion`.
    """
    real, told = counts.sum(1).astype(float), counts.sum(0).astype(float)
    total = float(counts.sum())
    together = np.trace(counts) * total - real @ told
    spread = (total**2 - told @ told) * (total**2 - real @ real)
    return float(together / np.sqrt(spread)) if spread > 0 else 0.0


def calibration_error(
    expected: Int[np.ndarray, " texts"],
    log_probabilities: Float[np.ndarray, "texts classes"],
    bins: int,
) -> float:
    """Give the expected calibration error (Guo et al. 2017, eq. 5).

    Texts are sorted by the probability of what is predicted into so many bins of one
    width, closed above; the gaps between a bin's mean probability and its accuracy are
    weighed by its texts.
    """
    sure = np.exp(log_probabilities.max(1))
    right = log_probabilities.argmax(1) == expected
    place = np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(place, sure - right, bins)
    return float(np.abs(gaps).sum() / len(expected))
