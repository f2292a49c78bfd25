"""Optimizers that look at each number of a parameter alone."""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

import optax

from lm_jax.bounds import within
from lm_jax.errors import UserError
from lm_jax.optimizers.base import OptimizerBase
from lm_jax.optimizers.mean_squares import by_rows
from lm_jax.optimizers.rounded import rounded

Kept = Literal["float32", "bfloat16"]


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

    @property
    def rests(self) -> bool:
        """Without momentum, it has no statistics."""
        return self.momentum == 0.0


@dataclass(frozen=True)
class AdamW(OptimizerBase):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    Attributes:
        b1: decay of the mean of gradients.
        b2: decay of the mean of squared gradients.
        epsilon: added to the root of the mean square.
        mean_dtype: type that the mean is kept in between steps; an update is made of
            what it was before it is rounded.
        square_dtype: the same of the mean of squares. "bfloat16" needs a ``b2`` of
            0.996 or less: nearer to 1, what a step takes off is rounded away, and a
            mean that was once large stays so.
    """

    b1: float = within("[0, 1)", 0.9)
    b2: float = within("[0, 1)", 0.999)
    epsilon: float = within("(0, inf)", 1e-8)
    _: KW_ONLY
    weight_decay: float = within("[0, inf)", 0.01)
    mean_dtype: Kept = "float32"
    square_dtype: Kept = "float32"

    def __post_init__(self) -> None:
        """Refuse a mean of squares that could never fall."""
        super().__post_init__()
        if self.square_dtype == "bfloat16" and 1 - self.b2 < 2.0**-8:
            raise UserError(
                f"optimizer.square_dtype='bfloat16' needs optimizer.b2 of 0.996 or "
                f"less, and it is {self.b2}: bfloat16 has 8 bits, and would round away "
                "what a step takes off. Give a smaller b2, or leave square_dtype out."
            )

    def direction(self) -> optax.GradientTransformation:
        """Gradients to an uphill direction of unit learning rate."""
        rule = optax.scale_by_adam(self.b1, self.b2, self.epsilon)
        if self.mean_dtype == self.square_dtype == "float32":
            return rule
        return rounded(rule, mu=self.mean_dtype, nu=self.square_dtype)


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
class RMSProp(OptimizerBase):
    """Gradients over the root of their mean square: Adam without a mean of gradients.

    Hinton 2012, with Adam's correction of the first steps. The mean of a row whose
    gradient is 0 waits, and decays all at once when there is one: so a step over the
    rows of a table that a batch names is a step over all of them.

    Attributes:
        decay: of the mean of squared gradients.
        epsilon: added to its root.
    """

    decay: float = within("(0, 1)", 0.999)
    epsilon: float = within("(0, inf)", 1e-8)
    rests: ClassVar[bool] = True

    def direction(self) -> optax.GradientTransformation:
        """Gradients to an uphill direction of unit learning rate."""
        return by_rows(self.decay, self.epsilon)


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
