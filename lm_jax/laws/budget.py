"""The best use of a budget: how many parameters, and so how many tokens."""

import math
from typing import Any, NamedTuple

import numpy as np

from lm_jax.laws.law import Law
from lm_jax.laws.points import Point


class Cost(NamedTuple):
    """FLOPs to train on a token, by parameters: factor * N^power.

    The usual 6 N leaves out the head and attention where models are large; of small
    ones they are the most.
    """

    factor: float
    power: float

    def tokens(self, parameters: Any, flops: Any) -> Any:
        """What a budget of FLOPs trains so many parameters on; none, without end."""
        with np.errstate(divide="ignore"):
            return np.divide(flops, self.factor * np.power(parameters, self.power))


def cost_of(points: list[Point]) -> Cost:
    """The FLOPs a token of some runs, by their models' own counts.

    A straight line through their logarithms, by least squares.
    """
    parameters = np.log([point.parameters for point in points])
    flops = np.log([point.flops / point.tokens for point in points])
    power, factor = np.polyfit(parameters, flops, 1)
    return Cost(float(np.exp(factor)), float(power))


def best_parameters(law: Law, cost: Cost, flops: float) -> float:
    """The parameters at which a budget of FLOPs gives the smallest loss.

    Hoffmann et al. 2022, eq. 4, for a cost of factor * N^power in place of 6 N; of a
    law without A or B it is nothing or without end.
    """
    if not law.B:
        return math.inf
    ratio = law.alpha * law.A / (cost.power * law.beta * law.B)
    root = 1.0 / (law.alpha + cost.power * law.beta)
    return float((ratio * (flops / cost.factor) ** law.beta) ** root)


def growth(law: Law, cost: Cost) -> float:
    """The power of the FLOPs that the best parameters grow by."""
    return law.beta / (law.alpha + cost.power * law.beta)
