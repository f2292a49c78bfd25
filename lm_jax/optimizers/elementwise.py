"""Optimizers that look at each number of a parameter alone."""

from dataclasses import KW_ONLY, dataclass

import optax

from lm_jax.bounds import within
from lm_jax.optimizers.base import OptimizerBase


@dataclass(frozen=True)
class SGD(OptimizerBase):
    """Stochastic gradient descent with momentum.

    Attributes:
        momentum: share of the last update that is kept; 0 is plain SGD.
        nesterov: look ahead along the momentum.
    """

    momentum: float = within("[0, 1)", 0.9)
    nesterov: bool = False

    def direction(self) -> optax.GradientTransformation:
        """Gradients to an uphill direction of unit learning rate."""
        if self.momentum == 0.0:
            return optax.identity()
        return optax.trace(self.momentum, self.nesterov)


@dataclass(frozen=True)
class AdamW(OptimizerBase):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    Attributes:
        b1: decay of the mean of gradients.
        b2: decay of the mean of squared gradients.
        epsilon: added to the root of the mean square.
    """

    b1: float = within("[0, 1)", 0.9)
    b2: float = within("[0, 1)", 0.999)
    epsilon: float = within("(0, inf)", 1e-8)
    _: KW_ONLY
    weight_decay: float = within("[0, inf)", 0.01)

    def direction(self) -> optax.GradientTransformation:
        """Gradients to an uphill direction of unit learning rate."""
        return optax.scale_by_adam(self.b1, self.b2, self.epsilon)


@dataclass(frozen=True)
class Adadelta(OptimizerBase):
    """Steps as large as those before, in units of the gradient (Zeiler 2012).

    Its learning rate is 1 (``Constant(peak=1.0)``) and seldom tuned. The defaults
    are those of the paper and of Kim 2014.

    Attributes:
        rho: decay of the means of squared gradients and of squared updates.
        epsilon: added to both means.
    """

    rho: float = within("[0, 1)", 0.95)
    epsilon: float = within("(0, inf)", 1e-6)
    _: KW_ONLY
    clip: float | None = within("(0, inf)", None)

    def direction(self) -> optax.GradientTransformation:
        """Gradients to an uphill direction of unit learning rate."""
        return optax.scale_by_adadelta(self.rho, self.epsilon)


@dataclass(frozen=True)
class Lion(OptimizerBase):
    """The sign of an interpolated momentum (Chen et al. 2023).

    Attributes:
        b1: share of the momentum in the update.
        b2: decay of the momentum.
    """

    b1: float = within("[0, 1)", 0.9)
    b2: float = within("[0, 1)", 0.99)
    _: KW_ONLY
    weight_decay: float = within("[0, inf)", 0.1)

    def direction(self) -> optax.GradientTransformation:
        """Gradients to an uphill direction of unit learning rate."""
        return optax.scale_by_lion(self.b1, self.b2)
