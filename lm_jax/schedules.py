"""The learning rate as a function of the step.

Every schedule warms up linearly and has a ``curve``; what a schedule learns
from evaluations comes from ``scale``.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lm_jax.bounds import check, within
from lm_jax.durations import Units, in_steps, parse_duration, steps
from lm_jax.errors import UserError

Curve = Callable[[Int[Array, ""] | int], Float[Array, ""]]


@dataclass(frozen=True)
class Constant:
    """One rate after the warmup.

    Attributes:
        peak: the highest learning rate.
        warmup: how long the rate rises from zero to the peak.
    """

    peak: float = within("(0, inf)")
    warmup: str = "0 steps"

    def __post_init__(self) -> None:
        """Refuse what no training can have."""
        check(self, "schedule")
        parse_duration(self.warmup, "schedule.warmup")

    def curve(self, total: int, units: Units) -> Curve:
        """The learning rate of each step (from 0) of ``total``.

        Raises:
            UserError: a duration can't be read, or the peak is never reached.
        """
        warmup = steps(self.warmup, units, "schedule.warmup")
        falling = self._falling(units)
        if total and self._full(warmup) > total - max(1, falling):
            raise UserError(self._never(warmup, falling, total))
        return lambda step: (
            self.peak
            * self._rest(step, warmup, total, units)
            * jnp.minimum(1.0, self._rise(step, warmup))
        )

    def _full(self, warmup: int) -> int:
        """The step at which the warmup is over."""
        return warmup

    def _falling(self, units: Units) -> int:
        """How many of the last steps the rate falls in, where a field says so."""
        return 0

    def _never(self, warmup: int, falling: int, total: int) -> str:
        """Say that the peak is never reached, and what to type."""
        parts = {"warmup": (warmup, total // 10), "decay": (falling, total // 5)}
        long = {name: part for name, part in parts.items() if part[0]}
        told = [f"schedule.{name} ({in_steps(n)})" for name, (n, _) in long.items()]
        flags = [f'--schedule.{name} "{min(n)} steps"' for name, n in long.items()]
        return (
            f"{' and '.join(told)} {'take' if len(told) > 1 else 'takes'} the whole "
            f"budget ({in_steps(total)}): no step has the rate schedule.peak. Give a "
            f"longer --budget, or {' '.join(flags)}"
        )

    def _rise(self, step, warmup: int):
        """Share of the peak at a step of the warmup; 1 or more after it."""
        return (step + 1) / (warmup + 1)

    def _rest(self, step, warmup: int, total: int, units: Units):
        """Share of the peak at a step, were there no warmup."""
        return 1.0

    def scale(self, validation: Sequence[float]) -> float:
        """Factor on the curve after these validation losses."""
        return 1.0


def _progress(step, first: int, last: int):
    """How far a step stands between two others, from 0 to 1."""
    return jnp.clip((step - first) / max(1, last - first), 0.0, 1.0)


def _check_final(schedule: Any) -> None:
    if schedule.final > schedule.peak:
        raise UserError(
            f"schedule.final={schedule.final} is above schedule.peak={schedule.peak}: "
            "give as much or less."
        )


@dataclass(frozen=True)
class WarmupCosine(Constant):
    """Half a cosine from the peak to the final rate (Loshchilov 2017).

    Attributes:
        final: learning rate at the end of the budget.
    """

    final: float = within("[0, inf)", 0.0)

    def __post_init__(self) -> None:
        """Refuse to end above the peak."""
        super().__post_init__()
        _check_final(self)

    def _rest(self, step, warmup, total, units):
        share = self.final / self.peak
        cosine = 0.5 * (1.0 + jnp.cos(jnp.pi * _progress(step, warmup, total)))
        return share + (1.0 - share) * cosine


@dataclass(frozen=True)
class WarmupLinear(Constant):
    """A straight line from the peak to the final rate.

    Attributes:
        final: learning rate at the end of the budget.
    """

    final: float = within("[0, inf)", 0.0)

    def __post_init__(self) -> None:
        """Refuse to end above the peak."""
        super().__post_init__()
        _check_final(self)

    def _rest(self, step, warmup, total, units):
        share = self.final / self.peak
        return 1.0 - (1.0 - share) * _progress(step, warmup, total)


@dataclass(frozen=True)
class InverseSquareRoot(Constant):
    """peak * sqrt(warmup / step) after the warmup (Vaswani et al. 2017, eq. 3).

    Steps count from 1 there, so the last of the warmup has the peak.
    """

    def _full(self, warmup):
        return max(1, warmup) - 1

    def _rise(self, step, warmup):
        return (step + 1) / max(1, warmup)

    def _rest(self, step, warmup, total, units):
        warmup = max(1, warmup)
        return jnp.sqrt(warmup / jnp.maximum(step + 1, warmup))


@dataclass(frozen=True)
class WarmupStableDecay(Constant):
    """Constant, then a straight line down at the end (Hu et al. 2024).

    Attributes:
        decay: how long the rate falls at the end of the budget.
        final: learning rate at the end of the budget.
    """

    decay: str = "200 steps"
    final: float = within("[0, inf)", 0.0)

    def __post_init__(self) -> None:
        """Refuse to end above the peak, and what is no duration."""
        super().__post_init__()
        _check_final(self)
        parse_duration(self.decay, "schedule.decay")

    def _falling(self, units):
        return steps(self.decay, units, "schedule.decay")

    def _rest(self, step, warmup, total, units):
        share = self.final / self.peak
        falling = _progress(step, total - self._falling(units), total)
        return 1.0 - (1.0 - share) * falling


@dataclass(frozen=True)
class StepDecay(Constant):
    """Constant, then multiplied by a factor again and again (Zaremba et al. 2014).

    Attributes:
        factor: what the rate is multiplied by.
        after: how long the rate stays as it is.
        every: from then on, how long until it is multiplied again.
    """

    factor: float = within("(0, 1]", 0.5)
    after: str = "4 epochs"
    every: str = "1 epoch"

    def __post_init__(self) -> None:
        """Refuse what is no duration."""
        super().__post_init__()
        parse_duration(self.after, "schedule.after")
        parse_duration(self.every, "schedule.every", positive=True)

    def _rest(self, step, warmup, total, units):
        past = step - steps(self.after, units, "schedule.after")
        every = steps(self.every, units, "schedule.every")
        times = jnp.floor_divide(past, every) + 1
        return self.factor ** jnp.maximum(0, times)


@dataclass(frozen=True)
class ReduceOnPlateau(Constant):
    """Constant, cut when the validation loss stops falling.

    PyTorch's ReduceLROnPlateau with its ``threshold_mode="abs"``.

    Attributes:
        factor: what the rate is multiplied by at a cut.
        patience: evaluations without a better loss that are borne: the next one
            cuts. 0 cuts at each that isn't better.
        threshold: a loss is better when lower by more than this.
    """

    factor: float = within("(0, 1)", 0.5)
    patience: int = within("[0, inf)", 1)
    threshold: float = within("[0, inf)", 1e-4)

    def scale(self, validation):
        """Factor on the curve: cut once for each ``patience`` + 1 losses in vain."""
        best, waited, scale = math.inf, 0, 1.0
        for loss in validation:
            if loss < best - self.threshold:
                best, waited = loss, 0
            else:
                waited += 1
            if waited > self.patience:
                scale, waited = scale * self.factor, 0
        return scale


Schedule = (
    Constant
    | WarmupCosine
    | WarmupLinear
    | InverseSquareRoot
    | WarmupStableDecay
    | StepDecay
    | ReduceOnPlateau
)
