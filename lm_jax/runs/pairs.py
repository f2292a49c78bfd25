"""Differences between variants, seed by seed."""

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lm_jax.runs.result import At
from lm_jax.runs.rows import Measure, Row


class Difference(NamedTuple):
    """How far a row is from another, over the seeds that both have.

    Attributes:
        row, other: what is compared, and what with.
        mean: of row - other.
        deviation: sample standard deviation of the differences.
        interval: half of the 95% interval of the mean, by Student's t.
        seeds: that both have.
    """

    row: Row
    other: Row
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


def differences(
    rows: list[Row], measure: Measure, how: str, at: At
) -> Iterator[Difference]:
    """Compare rows that were scored alike with the base of their experiment.

    Where an experiment has no base here, with the first of its rows. Two seeds must
    be common to both.
    """
    for row in rows:
        other = _reference(row, rows)
        if other is None:
            continue
        a, b = (each.by_seed(measure, how, at) for each in (row, other))
        found = [a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())]
        if len(found) > 1 and all(map(math.isfinite, found)):
            yield Difference(row, other, *spread(found), len(found))


def _reference(row: Row, rows: list[Row]) -> Row | None:
    """The row that another is compared with, if there is one."""
    experiment = row.name.partition(":")[0]
    siblings = [each for each in rows if each.name.partition(":")[0] == experiment]
    base = [each for each in siblings if ":" not in each.name]
    other = (base or siblings)[0]
    return None if other is row else other
