"""Smoothing: how counts become probabilities.

Every smoothing has the form of Katz (1987): an n-gram that was seen has its
probability, and the others share what is left in their context,

    p(w | h) = p[hw]                  if hw was seen,
               rest[h] * p(w | h')    otherwise,

where h' is the context h without its first token, and an unseen context has
rest 1. So `weigh` gives p and rest, two arrays for each order, once and for all.
Each is filled piece by piece: the n-grams may be more than the memory has room for.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from lm_jax.counting.scratch import Scratch, Told, pieces
from lm_jax.counting.tables import Counts
from lm_jax.errors import UserError


class Weights(NamedTuple):
    """The probabilities of one order; the last entries are of what was never seen."""

    probabilities: Float64[np.ndarray, " grams+1"]
    """p[hw] of each n-gram seen."""
    rest: Float64[np.ndarray, " contexts+1"]
    """Of each context; 1 where nothing followed it."""


def in_pieces(
    level: Counts,
    weigh: Callable[[Counts, slice], tuple[np.ndarray, ...]],
    scratch: Scratch,
    told: Told,
) -> list[Float64[np.ndarray, " _"]]:
    """Put together what is found of the pieces of an order.

    Args:
        level: of the order.
        weigh: of a piece and the ids of its contexts, as many arrays of its n-grams as
            of its contexts, in turn.
        scratch: where large arrays lie.
        told: of the n-grams of each piece.
    """
    sizes = len(level.keys) + 1, level.contexts_below + 1
    made: list[np.ndarray] = []
    for grams, contexts, piece in level.pieces():
        found = weigh(piece, contexts)
        if not made:
            made = [scratch.array(sizes[i % 2], np.float64) for i in range(len(found))]
        for i, (whole, part) in enumerate(zip(made, found, strict=True)):
            whole[(grams, contexts)[i % 2]] = part
            whole[-1] = (np.nan, 1.0)[i % 2]
        told(len(piece.keys))
    return made


@dataclass(frozen=True)
class MaximumLikelihood:
    """Relative frequencies: p(w | h) = c(hw) / c(h).

    A context that never occurred has none: its longest suffix that did occur
    takes its place. A token that never followed its context has probability 0
    and so an infinite loss.
    """

    backs_off: ClassVar[bool] = True
    statement: ClassVar[str] = "relative frequencies after the longest context seen"

    def weigh(
        self, levels: list[Counts], scratch: Scratch, told: Told
    ) -> Iterator[Weights]:
        """Give the weights of each order."""

        def weigh(piece: Counts, contexts: slice) -> tuple[np.ndarray, ...]:
            totals = piece.totals(piece.counts)
            rest = np.where(totals > 0, 0.0, 1.0)
            return piece.counts / totals[piece.contexts], rest

        for level in levels:
            yield Weights(*in_pieces(level, weigh, scratch, told))


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

    def weigh(
        self, levels: list[Counts], scratch: Scratch, told: Told
    ) -> Iterator[Weights]:
        """Give the weights of each order; the rest is spread evenly."""

        def weigh(piece: Counts, contexts: slice) -> tuple[np.ndarray, ...]:
            added = self.k * piece.vocab_size
            totals = piece.totals(piece.counts) + added
            return (piece.counts + self.k) / totals[piece.contexts], added / totals

        for level in levels:
            yield Weights(*in_pieces(level, weigh, scratch, told))


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

    def weigh(
        self, levels: list[Counts], scratch: Scratch, told: Told
    ) -> Iterator[Weights]:
        """Give the weights of each order."""
        shorter = np.array([1.0 / levels[0].vocab_size])
        for level in levels:
            discounts = self.estimate(level.continuations)

            def weigh(
                piece: Counts,
                contexts: slice,
                shorter: np.ndarray = shorter,
                discounts: np.ndarray = discounts,
            ) -> tuple[np.ndarray, ...]:
                # The highest order has its occurrences there.
                counts, own = piece.continuations, piece.contexts
                discount = discounts[np.minimum(counts, 3)]
                totals = piece.totals(counts)
                rest = _divide(piece.totals(discount), totals)
                below = rest[own] * shorter[piece.suffixes]
                return (counts - discount) / totals[own] + below, rest

            weights = Weights(*in_pieces(level, weigh, scratch, told))
            yield weights
            shorter = weights.probabilities

    def estimate(
        self, counts: Int64[np.ndarray, " grams"]
    ) -> Float64[np.ndarray, " 4"]:
        """Estimate what is taken from counts of 0, 1, 2 and 3 or more.

        D(i) = i - (i + 1) Y n[i + 1] / n[i] with Y = n[1] / (n[1] + 2 n[2]), where
        n[i] n-grams have count i; the one discount for all is Y. A small text, or
        one of few symbols, has too few n-grams for that, or D would be 0 or less:
        then D is 1/2, 1 and 3/2, or 1/2 for all.
        """
        n = np.zeros(6)
        for part in pieces(len(counts)):
            n += np.bincount(np.minimum(counts[part], 5), minlength=6)
        y = n[1] / max(n[1] + 2 * n[2], 1)
        if self.discounts == 1:
            return np.array([0, 1, 1, 1]) * (y if 0 < y < 1 else 0.5)
        if n[1:4].all():
            i = np.arange(1, 4)
            found = i - (i + 1) * y * n[2:5] / n[1:4]
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

    def weigh(
        self, levels: list[Counts], scratch: Scratch, told: Told
    ) -> Iterator[Weights]:
        """Give the weights of each order.

        After h, tokens that were seen have scores that sum to 1, and the others
        alpha times all scores after h' but those of the tokens seen after h.
        """
        # Below the unigrams every score is 0.
        shorter, sums_below, suffixes = np.zeros(1), np.zeros(1), np.zeros(1, np.int64)
        for level in levels:

            def weigh(
                piece: Counts,
                contexts: slice,
                shorter: np.ndarray = shorter,
                sums_below: np.ndarray = sums_below,
                suffixes: np.ndarray = suffixes,
            ) -> tuple[np.ndarray, ...]:
                totals, own = piece.totals(piece.counts), piece.contexts
                scores = piece.counts / totals[own]
                below = sums_below[suffixes[contexts]]
                more = below - piece.totals(shorter[piece.suffixes])
                sums = 1.0 + self.alpha * more
                rest = np.where(totals > 0, self.alpha * below / sums, 1.0)
                return scores / sums[own], rest, scores, sums

            *weights, shorter, sums_below = in_pieces(level, weigh, scratch, told)
            yield Weights(*weights)
            suffixes = level.suffixes


@dataclass(frozen=True)
class Given:
    """Probabilities and back-offs as a file gave them: nothing is counted."""

    backs_off: ClassVar[bool] = True
    statement: ClassVar[str] = "as a file gave them"

    def weigh(
        self, levels: list[Counts], scratch: Scratch, told: Told
    ) -> Iterator[Weights]:
        """Refuse: counts say nothing of them.

        Raises:
            UserError: always.
        """
        raise UserError(GIVEN)


GIVEN = (
    "Given() is the smoothing of n-grams that were imported: to count a text use "
    "another, such as KneserNey()."
)


Smoothing = MaximumLikelihood | AddK | KneserNey | StupidBackoff | Given


def _divide(
    part: Float64[np.ndarray, " contexts"], whole: Float64[np.ndarray, " contexts"]
) -> Float64[np.ndarray, " contexts"]:
    return np.divide(part, whole, out=np.ones_like(whole), where=whole > 0)
