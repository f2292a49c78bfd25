"""Averages of the weights, to be evaluated and used in their place."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from lm_jax.bounds import check, within


@dataclass(frozen=True)
class MovingAverage:
    """Each step's weights count less than the next one's (Polyak, Juditsky 1992).

    Attributes:
        decay: of what was averaged before, each step.
    """

    decay: float = within("(0, 1)", 0.999)

    def __post_init__(self) -> None:
        """Refuse what is no decay."""
        check(self, "average")

    def share(self, count: Any) -> Any:
        """The share of the newest weights in the mean."""
        return 1.0 - self.decay


@dataclass(frozen=True)
class AverageAfter:
    """The mean of all weights since the loss stopped falling (NT-ASGD).

    Merity et al. 2018, algorithm 1.

    Attributes:
        evaluations: without a loss better than the best of those before them until
            the mean begins.
    """

    evaluations: int = within("[1, inf)", 5)

    def __post_init__(self) -> None:
        """Refuse what would begin before there is a loss."""
        check(self, "average")

    def share(self, count: Any) -> Any:
        """The share of the newest of so many weights; all, before it begins."""
        return 1.0 / jnp.maximum(1, count)


@dataclass(frozen=True)
class LastCheckpoints:
    """The mean of the weights at the last evaluations (Vaswani et al. 2017, 6.1).

    Of those that are watched: their checkpoints are kept, and read again for each
    mean, which needs memory for two more sets of weights.

    Attributes:
        count: checkpoints, the one that is evaluated among them.
    """

    count: int = within("[2, inf)", 5)

    def __post_init__(self) -> None:
        """Refuse a mean of one."""
        check(self, "average")


# One that grows with each step.
Running = MovingAverage | AverageAfter
Average = Running | LastCheckpoints


def running(average: Average | None) -> Running | None:
    """The average, if it is one that grows with each step."""
    return None if isinstance(average, LastCheckpoints) else average


def checkpoints_of(average: Average | None) -> int:
    """How many earlier checkpoints an average is made of."""
    return average.count - 1 if isinstance(average, LastCheckpoints) else 0
