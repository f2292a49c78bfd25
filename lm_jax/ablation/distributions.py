"""What a tuned field is drawn from, and the points that all variants try."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np

from lm_jax.errors import UserError

Point = dict[str, float | int]


@dataclass(frozen=True)
class Range:
    """Numbers between two ends, both included.

    Attributes:
        low, high: the ends.
        log: whether each factor is as likely as another, not each difference.
        whole: whether they have no fractions.

    Raises:
        UserError: the ends are no numbers, or nothing lies between them.
    """

    low: float | int
    high: float | int
    log: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        """Refuse ends between which nothing can be drawn."""
        kind, what = (Integral, "whole numbers") if self.whole else (Real, "numbers")
        ends = f"{self}: give two {what}, the smaller first"
        both = self.low, self.high
        fit = all(isinstance(x, kind) and not isinstance(x, bool) for x in both)
        if not (fit and -math.inf < self.low < self.high < math.inf):
            raise UserError(f"{ends}.")
        for name, end in zip(("low", "high"), both, strict=True):
            object.__setattr__(self, name, int(end) if self.whole else float(end))
        if self.log and self.low <= 0:
            raise UserError(f"{ends} and above 0.")

    def __str__(self) -> str:
        """As it is written."""
        kind = "log_uniform" if self.log else "integers" if self.whole else "uniform"
        return f"{kind}({self.low!r}, {self.high!r})"

    def at(self, share: float) -> float | int:
        """The number at a share of the range, in four digits that can be typed."""
        if self.whole:
            return int(self.low + math.floor(share * (self.high - self.low + 1)))
        low, high = self._scaled(self.low), self._scaled(self.high)
        found = low + share * (high - low)
        return self.told(math.exp(found) if self.log else found)

    def told(self, value: float) -> float:
        """A number of the range in four digits, within it."""
        return min(max(float(f"{value:.4g}"), self.low), self.high)

    def share(self, value: float) -> float:
        """How far up the range a number lies: 0 at the low end, 1 at the high one."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        return (self._scaled(value) - low) / (high - low)

    def _scaled(self, value: float) -> float:
        return math.log(value) if self.log else value


def log_uniform(low: float | int, high: float | int) -> Range:
    """Each factor is as likely as another: for learning rates and the like."""
    return Range(low, high, log=True)


def uniform(low: float | int, high: float | int) -> Range:
    """Each number is as likely as another."""
    return Range(low, high)


def integers(low: int, high: int) -> Range:
    """Each whole number is as likely as another, both ends included."""
    return Range(low, high, whole=True)


def range_of(text: str) -> Range:
    """What was written so.

    Raises:
        ValueError: nothing was.
    """
    kind, _, ends = text.rstrip(")").partition("(")
    low, high = map(float, ends.split(", "))
    if kind == "integers":
        return integers(int(low), int(high))
    made = {"log_uniform": log_uniform, "uniform": uniform}
    if kind not in made:
        raise ValueError(f"'{text}' is no range")
    return made[kind](low, high)


def points(ranges: Mapping[str, Range], count: int) -> list[Point]:
    """Draw points at random, so that each field's are spread over its range.

    Of so many equal parts of a range each holds one value (Latin hypercube sampling,
    McKay et al. 1979). A field's values depend on its name and the count alone.

    Args:
        ranges: by field.
        count: of the points.
    """
    drawn = {}
    for field, wide in ranges.items():
        random = np.random.default_rng([count, *field.encode()])
        shares = (random.permutation(count) + random.random(count)) / count
        drawn[field] = [wide.at(float(share)) for share in shares]
    return [{field: drawn[field][k] for field in drawn} for k in range(count)]
