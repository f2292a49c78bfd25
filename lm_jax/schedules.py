"""The learning rate as a function of the step.

Every schedule warms up linearly and has a ``curve``; what a schedule learns
from evaluations comes from ``scale``.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lm_jax.durations import Units, steps

Curve = Callable[[Int[Array, ""] | int], Float[Array, ""]]


@dataclass(frozen=True)
class Constant:
    """One rate after the warmup.

    Attributes:
        peak: the highest learning rate.
        warmup: how long the rate rises from zero to the peak.
    """

    peak: float
    warmup: str = "0 steps"

    def curve(self, total: int, units: Units) -> Curve:
        """The learning rate of each step (from 0) of ``total``."""
        warmup = steps(self.warmup, units)
        return lambda step: (
            self.peak
            * self._rest(step, warmup, total, units)
            * (jnp.minimum(1.0, (step + 1) / (warmup + 1)))
        )

    def _rest(self, step, warmup: int, total: int, units: Units):
        """Share of the peak at a step, were there no warmup."""
        return 1.0

    def scale(self, validation: Sequence[float]) -> float:
        """Factor on the curve after these validation losses."""
        return 1.0


def _progress(step, first: int, last: int):
    """How far a step stands between two others, from 0 to 1."""
    return jnp.clip((step - first) / max(1, last - first), 0.0, 1.0)


@dataclass(frozen=True)
class WarmupCosine(Constant):
    """Half a cosine from the peak to the final rate (Loshchilov 2017).

    Attributes:
        final: learning rate at the end of the budget.
    """

    final: float = 0.0

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

    final: float = 0.0

    def _rest(self, step, warmup, total, units):
        share = self.final / self.peak
        return 1.0 - (1.0 - share) * _progress(step, warmup, total)


@dataclass(frozen=True)
class InverseSquareRoot(Constant):
    """peak * sqrt(warmup / step) after the warmup (Vaswani et al. 2017, eq. 3)."""

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
    final: float = 0.0

    def _rest(self, step, warmup, total, units):
        share = self.final / self.peak
        falling = _progress(step, total - steps(self.decay, units), total)
        return 1.0 - (1.0 - share) * falling


@dataclass(frozen=True)
class StepDecay(Constant):
    """Constant, then multiplied by a factor again and again (Zaremba et al. 2014).

    Attributes:
        factor: what the rate is multiplied by.
        after: how long the rate stays as it is.
        every: from then on, how long until it is multiplied again.
    """

    factor: float = 0.5
    after: str = "4 epochs"
    every: str = "1 epoch"

    def _rest(self, step, warmup, total, units):
        past = step - steps(self.after, units)
        times = jnp.floor_divide(past, max(1, steps(self.every, units))) + 1
        return self.factor ** jnp.maximum(0, times)


@dataclass(frozen=True)
class ReduceOnPlateau(Constant):
    """Constant, cut when the validation loss stops falling.

    Attributes:
        factor: what the rate is multiplied by at a cut.
        patience: evaluations without a better loss before a cut.
        threshold: a loss is better when lower by more than this.
    """

    factor: float = 0.5
    patience: int = 2
    threshold: float = 1e-4

    def scale(self, validation):
        """Factor on the curve: cut once for each ``patience`` losses in vain."""
        best, waited, scale = math.inf, 0, 1.0
        for loss in validation:
            if loss < best - self.threshold:
                best, waited = loss, 0
            else:
                waited += 1
            if waited >= self.patience:
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
