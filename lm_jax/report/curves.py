"""Curves of several seeds: their mean, and the band from the smallest to the largest.

Seeds of a variant that have ended make its band; a run that hasn't is a line alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from lm_jax.report.gathered import Variant
from lm_jax.runs.ledger import DIGESTS
from lm_jax.runs.picture import Series, series, smoothed

_FEW = 50  # points; of more, where a curve begins doesn't set how high it is drawn
_MOST = 250  # points of a curve that is drawn: a screen shows no more
# What says nothing of learning, or the same as the step.
_LEFT_OUT = ("step", "seconds", "data_wait", "validation_tokens", *DIGESTS)

Steps = Int[np.ndarray, " points"]
Values = Float[np.ndarray, " points"]


class Band(NamedTuple):
    """What the seeds of a variant have in common.

    Attributes:
        steps: that all have.
        mean, low, high: over the seeds.
        seeds: how many.
    """

    steps: Steps
    mean: Values
    low: Values
    high: Values
    seeds: int


@dataclass(frozen=True)
class Curves:
    """A number of a variant over its steps.

    Attributes:
        index: of the variant, which decides the colour.
        band: of the runs that ended; None if none did.
        others: steps and values of each run that hasn't.
    """

    index: int
    band: Band | None
    others: list[tuple[Steps, Values]]

    @property
    def lines(self) -> list[tuple[Steps, Values]]:
        """Every line that is drawn."""
        mean = [(self.band.steps, self.band.mean)] if self.band else []
        return mean + self.others


def band(found: Sequence[Series], smooth: bool = False) -> Band | None:
    """The band of some runs, at the steps that all have; None where there is none.

    Args:
        found: steps and values of each run.
        smooth: whether each is smoothed first, over a fiftieth of its points.
    """
    by_step = [dict(zip(*each, strict=True)) for each in found]
    steps = sorted(set.intersection(*map(set, by_step))) if by_step else []
    if not steps:
        return None
    values = np.array([[each[step] for step in steps] for each in by_step])
    if smooth:
        values = smoothed(values)
    low, high = values.min(axis=0), values.max(axis=0)
    return Band(np.array(steps), values.mean(axis=0), low, high, len(values))


def curves(variants: Sequence[Variant], name: str) -> list[Curves]:
    """A number of every variant that has it; what training measures is smoothed."""
    smooth = not name.startswith(("validation_", "learning_rate"))
    found = []
    for index, variant in enumerate(variants):
        ended, others = [], []
        for member in variant.members:
            steps, values = series(member.metrics, name)
            if steps and member.result:
                ended.append((steps, values))
            elif steps:
                array = np.array(values)
                array = smoothed(array) if smooth else array
                others.append((np.array(steps), array))
        here = Curves(index, band(ended, smooth), others)
        if here.lines:
            found.append(here)
    return found


def names(variants: Sequence[Variant], measures: Sequence[str]) -> Iterator[str]:
    """What runs measured: scores first, then loss, learning rate, gradient norm."""
    there = {
        name: None
        for variant in variants
        for member in variant.members
        for row in member.metrics
        for name in row
    }
    first = [f"validation_{measure}" for measure in measures]
    first += ["validation_loss", "loss", "learning_rate", "grad_norm"]
    for name in dict.fromkeys([*first, *there]):
        if name in there and name not in _LEFT_OUT:
            yield name


def thinned(count: int, most: int = _MOST) -> Int[np.ndarray, " kept"]:
    """Which of so many points are drawn: the first, the last, and evenly between."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def limits(found: Sequence[Curves], name: str) -> tuple[float, float]:
    """How low and how high the curves of a number are drawn.

    Of long curves the first tenth and the highest hundredth may lie outside: all else
    would be flat.
    """
    lows, highs = [], []
    for each in found:
        edges = [(each.band.low, each.band.high)] if each.band else []
        for below, above in edges + [(values, values) for _, values in each.others]:
            long = len(below) > _FEW and name != "learning_rate"
            begin = len(below) // 10 if long else 0
            lows.append(float(below[begin:].min()))
            highs.append(float(np.quantile(above[begin:], 0.99 if long else 1.0)))
    low, high = min(lows), max(highs)
    low = min(low, 0.0) if name == "learning_rate" else low
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin
