"""Classes of texts by the n-grams in them: naive Bayes, and its ratios weighed."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Bool, Float64, Int

from lm_jax.bounds import check, within
from lm_jax.counting.bags import Sparse, bags, learn_grams
from lm_jax.counting.fitted_classes import FittedClasses
from lm_jax.counting.scratch import Progress


@dataclass(frozen=True)
class NaiveBayes:
    """Tell the class of a text by log-count ratios of its n-grams (Wang and Manning
    2012).

    Attributes:
        order: tokens of the longest n-gram; 2 counts single tokens and pairs.
        smoothing: added to each count (alpha in the paper).
        weights: "counted" is naive Bayes itself; "logistic" learns how much each ratio
            counts, by logistic regression in the place of the paper's support vector
            machine, each class against the others.
        binary: whether an n-gram counts once in a text, however often it is there.
        penalty: weight of half the squared norm of what "logistic" learns, beside
            the sum of the texts' losses.
        interpolation: share of what "logistic" learnt; the rest is its mean size, for
            every ratio alike (beta in the paper, section 2.3, 1 here).
    """

    reads: ClassVar[str] = "Labelled"  # texts one by one, with their labels

    order: int = within("[1, 8]", 2)
    smoothing: float = within("(0, inf)", 1.0)
    weights: Literal["counted", "logistic"] = "counted"
    binary: bool = True
    penalty: float = within("[0, inf)", 1.0)
    interpolation: float = within("[0, 1]", 1.0)

    def __post_init__(self) -> None:
        """Refuse numbers that can't be."""
        check(self, "model")

    def fit(
        self,
        texts: list[Int[np.ndarray, " _"]],
        labels: Int[np.ndarray, " texts"],
        names: tuple[str, ...],
        vocab_size: int,
        progress: Progress | None = None,
    ) -> FittedClasses:
        """Count the n-grams of texts of each class, and weigh them.

        Args:
            texts: tokens of each.
            labels: of each, an index of ``names``.
            names: of the classes.
            vocab_size: number of ids.
            progress: told (description, classes done, classes in all).
        """
        grams = learn_grams(texts, self.order, vocab_size)
        counts = bags(texts, grams, self.binary)
        if self.weights == "counted":
            weights, bias = bayes(counts, labels, len(names), self.smoothing)
        else:
            weights, bias = self._logistic(counts, labels, len(names), progress)
        how = (
            "naive Bayes" if self.weights == "counted" else "log-count ratios, weighed"
        )
        statement = (
            f"{how}: {grams.total:,} n-grams of up to {self.order} tokens in "
            f"{len(texts):,} texts of {len(names)} classes."
        )
        unseen = [n for k, n in enumerate(names) if not (labels == k).any()]
        if unseen:
            statement += f" Of {', '.join(unseen)} there is none."
        logistic = self.weights == "logistic"
        return FittedClasses(
            grams, weights, bias, names, self.binary, logistic, statement
        )

    def _logistic(
        self,
        counts: Sparse,
        labels: Int[np.ndarray, " texts"],
        classes: int,
        progress: Progress | None,
    ) -> tuple[Float64[np.ndarray, "grams classes"], Float64[np.ndarray, " classes"]]:
        """Weigh each class's ratios against those of all others."""
        weights, bias = np.empty((counts.shape[1], classes)), np.empty(classes)
        for k in range(classes):
            if classes == 2 and k == 1:  # The mirror image of the first.
                weights[:, 1], bias[1] = -weights[:, 0], -bias[0]
                continue
            own = labels == k
            ratio = log_count_ratio(counts, own, self.smoothing)
            learnt, bias[k] = logistic(counts * ratio, own, self.penalty)
            even = np.abs(learnt).mean()
            share = self.interpolation
            weights[:, k] = ratio * ((1 - share) * even + share * learnt)
            if progress is not None:
                progress("weighing", k + 1, classes)
        return weights, bias


def bayes(
    counts: Sparse, labels: Int[np.ndarray, " texts"], classes: int, alpha: float
) -> tuple[Float64[np.ndarray, "grams classes"], Float64[np.ndarray, " classes"]]:
    """Give ln p(n-gram | class) and ln p(class): multinomial naive Bayes.

    Args:
        counts: of each n-gram in each text.
        labels: of each text.
        classes: how many there are.
        alpha: added to each count.
    """
    weights, bias = np.empty((counts.shape[1], classes)), np.empty(classes)
    for k in range(classes):
        total = counts[labels == k].sum(axis=0) + alpha
        weights[:, k] = np.log(total) - np.log(total.sum())
        with np.errstate(divide="ignore"):  # a class without a text has no chance
            bias[k] = np.log((labels == k).mean())
    return weights, bias


def log_count_ratio(
    counts: Sparse, own: Bool[np.ndarray, " texts"], alpha: float
) -> Float64[np.ndarray, " grams"]:
    """Give ln (p / |p|) / (q / |q|), p and q counts in a class and outside it (eq. 2).

    Args:
        counts: of each n-gram in each text.
        own: whether each text is of the class.
        alpha: added to each count.
    """
    p = counts[own].sum(axis=0) + alpha
    q = counts[~own].sum(axis=0) + alpha
    return np.log(p / p.sum()) - np.log(q / q.sum())


def logistic(
    features: Sparse, own: Bool[np.ndarray, " texts"], penalty: float
) -> tuple[Float64[np.ndarray, " grams"], float]:
    """Minimise sum ln(1 + exp(-y (w x + b))) + penalty/2 |w|^2, y = 1 or -1.

    Args:
        features: of each text.
        own: whether y is 1.
        penalty: of the weights; the bias has none.

    Returns:
        The weights and the bias.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    sign = np.where(own, 1.0, -1.0)
    turned = features.T.tocsr()

    def loss(both: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = both[:-1], both[-1]
        margin = sign * (features @ weights + bias)
        error = -sign * expit(-margin)
        gradient = np.append(turned @ error + penalty * weights, error.sum())
        total = np.logaddexp(0.0, -margin).sum() + penalty / 2 * weights @ weights
        return float(total), gradient

    start = np.zeros(features.shape[1] + 1)
    found = minimize(loss, start, jac=True, method="L-BFGS-B").x
    return found[:-1], float(found[-1])
