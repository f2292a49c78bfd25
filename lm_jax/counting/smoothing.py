"""Smoothing: how counts become probabilities.

Every smoothing has the form of Katz (1987): an n-gram that was seen has its
probability, and the others share what is left in their context,

    p(w | h) = p[hw]                  if hw was seen,
               rest[h] * p(w | h')    otherwise,

where h' is the context h without its first token, and an unseen context has
rest 1. So `weigh` gives p and rest, two arrays for each order, once and for all.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from lm_jax.counting.tables import Counts
from lm_jax.errors import UserError


class Weights(NamedTuple):
    """The probabilities of one order."""

    probabilities: Float64[np.ndarray, " grams"]
    """p[hw] of each n-gram seen."""
    rest: Float64[np.ndarray, " contexts"]
    """Of each context; 1 where nothing followed it."""


@dataclass(frozen=True)
class MaximumLikelihood:
    """Relative frequencies: p(w | h) = c(hw) / c(h).

    A context that never occurred has none: its longest suffix that did occur
    takes its place. A token that never followed its context has probability 0
    and so an infinite loss.
    """

    backs_off: ClassVar[bool] = True
    statement: ClassVar[str] = "relative frequencies after the longest context seen"

    def weigh(self, levels: list[Counts]) -> list[Weights]:
        """Give the weights of each order."""
        weights = []
        for level in levels:
            totals = level.totals(level.counts)
            rest = np.where(totals > 0, 0.0, 1.0)
            weights.append(Weights(level.counts / totals[level.contexts], rest))
        return weights


@dataclass(frozen=True)
class AddK:
    """Add k to every count: p(w | h) = (c(hw) + k) / (c(h) + k V) (Lidstone 1920).

    All unseen tokens are equally likely, whatever the shorter contexts say; after
    an unseen context all tokens are.
    """

    k: float = 1.0
    """What is added; 1 is Laplace's rule."""

    backs_off: ClassVar[bool] = False
    statement: ClassVar[str] = "a constant added to every count"

    def __post_init__(self) -> None:
        """Refuse what makes no probabilities."""
        if not 0 < self.k < np.inf:
            raise UserError(
                f"AddK(k={self.k}): k must be a positive number. "
                "MaximumLikelihood() adds nothing."
            )

    def weigh(self, levels: list[Counts]) -> list[Weights]:
        """Give the weights of each order; the rest is spread evenly."""
        weights = []
        for level in levels:
            added = self.k * level.vocab_size
            totals = level.totals(level.counts) + added
            probabilities = (level.counts + self.k) / totals[level.contexts]
            weights.append(Weights(probabilities, added / totals))
        return weights


@dataclass(frozen=True)
class KneserNey:
    """Interpolated Kneser-Ney with modified discounts (Chen and Goodman 1999).

    p(w | h) = (c(hw) - D(c(hw))) / c(h) + gamma(h) p(w | h')

    where gamma(h) is what the discounts D took in that context, over c(h). The
    lower orders count the different tokens before an n-gram in place of its
    occurrences. Below the unigrams is the uniform distribution.
    """

    discounts: int = 3
    """3: of their own for counts 1, 2, and 3 or more; 1: one for all counts."""

    backs_off: ClassVar[bool] = True
    statement: ClassVar[str] = "interpolated Kneser-Ney"

    def __post_init__(self) -> None:
        """Refuse other numbers of discounts."""
        if self.discounts not in (1, 3):
            raise UserError(
                f"KneserNey(discounts={self.discounts}): there can be 3 (modified "
                "Kneser-Ney) or 1 (the same for all counts)."
            )

    def weigh(self, levels: list[Counts]) -> list[Weights]:
        """Give the weights of each order."""
        weights: list[Weights] = []
        shorter = np.array([1.0 / levels[0].vocab_size])
        for level in levels:
            # The highest order has its occurrences there.
            counts = level.continuations
            discount = self.estimate(counts)[np.minimum(counts, 3)]
            totals = level.totals(counts)
            rest = _divide(level.totals(discount), totals)
            contexts = level.contexts
            shorter = (counts - discount) / totals[contexts] + (
                rest[contexts] * shorter[level.suffixes]
            )
            weights.append(Weights(shorter, rest))
        return weights

    def estimate(
        self, counts: Int64[np.ndarray, " grams"]
    ) -> Float64[np.ndarray, " 4"]:
        """Estimate what is taken from counts of 0, 1, 2 and 3 or more.

        D(i) = i - (i + 1) Y n[i + 1] / n[i] with Y = n[1] / (n[1] + 2 n[2]), where
        n[i] n-grams have count i; the one discount for all is Y. A small text, or
        one of few symbols, has too few n-grams for that, or D would be 0 or less:
        then D is 1/2, 1 and 3/2, or 1/2 for all.
        """
        n = np.bincount(counts[counts <= 4], minlength=5).astype(np.float64)
        y = n[1] / max(n[1] + 2 * n[2], 1)
        if self.discounts == 1:
            return np.array([0, 1, 1, 1]) * (y if 0 < y < 1 else 0.5)
        if n[1:4].all():
            i = np.arange(1, 4)
            found = i - (i + 1) * y * n[2:] / n[1:4]
            if (found > 0).all():
                return np.concatenate([[0.0], found])
        return np.array([0.0, 0.5, 1.0, 1.5])


@dataclass(frozen=True)
class StupidBackoff:
    """Relative frequencies, or alpha times the score of the shorter context.

    S(w | h) = c(hw) / c(h) if hw was seen, otherwise alpha S(w | h') (Brants et
    al. 2007). These are scores that sum to no fixed number. Here each is divided
    by the sum over the vocabulary after its context, exactly: so they are
    probabilities, and losses compare with those of other models. Brants et al. do
    without the division.
    """

    alpha: float = 0.4
    """Price of a step to a shorter context."""

    backs_off: ClassVar[bool] = True
    statement: ClassVar[str] = "stupid backoff, normalised over the vocabulary"

    def __post_init__(self) -> None:
        """Refuse what makes no scores."""
        if not 0 < self.alpha <= 1:
            raise UserError(
                f"StupidBackoff(alpha={self.alpha}): alpha must be above 0 and at "
                "most 1; Brants et al. use 0.4."
            )

    def weigh(self, levels: list[Counts]) -> list[Weights]:
        """Give the weights of each order.

        After h, tokens that were seen have scores that sum to 1, and the others
        alpha times all scores after h' but those of the tokens seen after h.
        """
        weights: list[Weights] = []
        # Below the unigrams every score is 0.
        shorter, sums_below, suffixes = np.zeros(1), np.zeros(1), np.zeros(1, np.int64)
        for level in levels:
            totals = level.totals(level.counts)
            scores = level.counts / totals[level.contexts]
            below = sums_below[suffixes]
            sums = 1.0 + self.alpha * (below - level.totals(shorter[level.suffixes]))
            rest = np.where(totals > 0, self.alpha * below / sums, 1.0)
            weights.append(Weights(scores / sums[level.contexts], rest))
            shorter, sums_below, suffixes = scores, sums, level.suffixes
        return weights


Smoothing = MaximumLikelihood | AddK | KneserNey | StupidBackoff


def _divide(
    part: Float64[np.ndarray, " contexts"], whole: Float64[np.ndarray, " contexts"]
) -> Float64[np.ndarray, " contexts"]:
    return np.divide(part, whole, out=np.ones_like(whole), where=whole > 0)
