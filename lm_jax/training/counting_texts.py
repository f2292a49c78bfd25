"""Classes of texts that are told by counting, beside the texts."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Int

from lm_jax.counting import FittedClasses, NaiveBayes
from lm_jax.data import Prepared
from lm_jax.evaluation.fitted import Planned, Progress
from lm_jax.evaluation.items import Items
from lm_jax.evaluation.predictions import Predictions, gathered
from lm_jax.experiment import CountExperiment
from lm_jax.runs.model import CLASSES, COUNTS
from lm_jax.training.counted import UNCACHED, Counted
from lm_jax.training.scoring import seen_before


class Texts(NamedTuple):
    """The texts of a split, as rows have them: cut where those are."""

    tokens: list[Int[np.ndarray, " _"]]
    labels: Int[np.ndarray, " texts"]
    numbers: Int[np.ndarray, " texts"]
    """Of each in its split."""


def read_texts(data: Prepared, split: str) -> Texts:
    """Read the texts of a split that a trained model would read, and no others."""
    windows = data.evaluation(split, 1)
    rows = list(map(windows.row, range(windows.count)))
    tokens = [row["inputs"][row["segments"] > 0] for row in rows]
    labels = np.array([row["label"] for row in rows], np.int64)
    order = np.arange(len(rows)) if windows.order is None else windows.order
    return Texts(tokens, labels, order)


@dataclass(frozen=True)
class ScoredTexts(Counted):
    """A model that counts the n-grams of texts, beside texts with labels."""

    file: ClassVar[str] = CLASSES

    @classmethod
    def check(cls, experiment: CountExperiment, data: Prepared) -> None:
        """Nothing is in the way that reading labels has not refused."""

    @classmethod
    def fit(
        cls, experiment: CountExperiment, data: Prepared, progress: Progress
    ) -> FittedClasses:
        """Count the n-grams of the training split's texts."""
        assert isinstance(experiment.model, NaiveBayes)
        tokens, labels, _ = read_texts(data, "train")
        names, size = data.labels, data.vocab_size
        return experiment.model.fit(tokens, labels, names, size, progress)

    @classmethod
    def planned(cls, data: Prepared) -> Planned:
        """What is known of the scores before anything is counted."""
        return Planned(lambda: ("loss", "accuracy"), UNCACHED, COUNTS, "label")

    @property
    def policy(self) -> str:
        """What the model sees of a text."""
        return seen_before(self.data)

    def predictions(self, split: str, progress: Progress | None = None) -> Predictions:
        """Give the log-probabilities of the classes of each text of a split."""
        return gathered(self._told(split), self.data.labels)

    def _told(self, split: str) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        texts, fitted = read_texts(self.data, split), self.loaded.fitted
        assert isinstance(fitted, FittedClasses)
        yield texts.numbers, texts.labels, fitted.log_probabilities(texts.tokens)

    def items(self, split: str, progress: Progress | None = None) -> Items:
        """Score each text of a split alone."""
        expected, found, _ = self.predictions(split, progress)
        numbers = np.arange(len(found))
        right = (found.argmax(1) == expected).astype(np.float64)
        sums = {"nats": -found[numbers, expected], "correct": right}
        return Items(numbers, np.ones(len(found)), sums)

    def score(self, split: str, progress: Progress | None = None) -> dict[str, float]:
        """Give the nats of a label over a whole split, and the share told rightly."""
        items = self.items(split, progress)
        return {name: items.mean(name) for name in ("loss", "accuracy")}
