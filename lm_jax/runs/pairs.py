"""Differences between variants, seed by seed."""

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lm_jax.runs.result import At
from lm_jax.runs.rows import POINTS, Measure, Row


class Difference(NamedTuple):
    """How far a row is from another, over the seeds that both have.

    Attributes:
        row, other: what is compared, and what with.
        at: where in training.
        mean: of row - other.
        deviation: sample standard deviation of the differences.
        interval: half of the 95% interval of the mean, by Student's t.
        seeds: that both have a finite figure of.
    """

    row: Row
    other: Row
    at: At
    mean: float
    deviation: float
    interval: float
    seeds: int


class Spread(NamedTuple):
    """How numbers lie about their mean.

    Attributes:
        mean: of them.
        deviation: their sample standard deviation.
        interval: half of the interval of the mean, by Student's t.
    """

    mean: float
    deviation: float
    interval: float


def spread(found: Sequence[float], level: float = 0.05) -> Spread:
    """Mean, deviation and interval of two numbers or more.

    Args:
        found: the numbers, finite; the interval takes them for draws from a normal
            distribution.
        level: how often the interval misses the mean: 0.05 for 95%.
    """
    from scipy.special import stdtrit

    n, deviation = len(found), statistics.stdev(found)
    quantile = float(stdtrit(n - 1, 1 - level / 2))
    return Spread(statistics.fmean(found), deviation, quantile * deviation / n**0.5)


def differences(rows: list[Row], measure: Measure, how: str) -> Iterator[Difference]:
    """Compare rows that were scored alike with the base of their experiment.

    Where an experiment has no base here, with the first of its rows. Two seeds must
    be common to both: at the best steps, or at the last, if more of them are there.
    """
    for row in rows:
        found = [
            (at, other, _paired(row, other, measure, how, at))
            for other in _references(row, rows)
            for at in POINTS
        ]
        if found:
            at, other, pairs = max(found, key=lambda each: len(each[2]))
            if len(pairs) > 1:
                yield _difference(row, other, at, pairs)


def _references(row: Row, rows: list[Row]) -> list[Row]:
    """What a row may be compared with: its base, which may be several recipes."""
    siblings = [each for each in rows if each.experiment == row.experiment]
    base = [each for each in siblings if each.variant == "base"]
    others = base or siblings[:1]
    return [] if row in others else others


def _paired(row: Row, other: Row, measure: Measure, how: str, at: At) -> list[float]:
    """The differences of the seeds that both have, where they are finite."""
    a, b = (each.by_seed(measure, how, at) for each in (row, other))
    found = [a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())]
    return [difference for difference in found if math.isfinite(difference)]


def _difference(row: Row, other: Row, at: At, found: list[float]) -> Difference:
    return Difference(row, other, at, *spread(found), len(found))
