"""Optimizer values, each turned into one optax transformation.

The parts are always in this order: clip the global norm, find the direction,
add decoupled weight decay, multiply by the parameter's own rate, by the
learning rate and by -1.
"""

from dataclasses import dataclass
from typing import Any

import jax
import optax
from optax.contrib import MuonDimensionNumbers, muon

from lm_jax.errors import UserError
from lm_jax.schedules import Curve
from lm_jax.selectors import select

MATRICES = (("kernel$|embedding$", True), (".*", False))
ALL = ((".*", 1.0),)
HIDDEN_KERNELS = (("block.*kernel$", True), (".*", False))


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum.

    Attributes:
        momentum: share of the last update that is kept; 0 is plain SGD.
        nesterov: look ahead along the momentum.
        weight_decay: decoupled: weights shrink by learning rate times this.
        clip: highest global norm of the gradient; None doesn't clip.
        decays: which parameters decay: (expression, true or false) pairs.
        rates: factor on the learning rate: (expression, factor) pairs; 0
            freezes a parameter.
    """

    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    clip: float | None = 1.0
    decays: tuple[tuple[str, bool], ...] = MATRICES
    rates: tuple[tuple[str, float], ...] = ALL

    def direction(self) -> optax.GradientTransformation:
        """Gradients to an uphill direction of unit learning rate."""
        if self.momentum == 0.0:
            return optax.identity()
        return optax.trace(self.momentum, self.nesterov)


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    Attributes:
        b1: decay of the mean of gradients.
        b2: decay of the mean of squared gradients.
        epsilon: added to the root of the mean square.
        weight_decay: decoupled: weights shrink by learning rate times this.
        clip: highest global norm of the gradient; None doesn't clip.
        decays: which parameters decay: (expression, true or false) pairs.
        rates: factor on the learning rate: (expression, factor) pairs; 0
            freezes a parameter.
    """

    b1: float = 0.9
    b2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.01
    clip: float | None = 1.0
    decays: tuple[tuple[str, bool], ...] = MATRICES
    rates: tuple[tuple[str, float], ...] = ALL

    def direction(self) -> optax.GradientTransformation:
        """Gradients to an uphill direction of unit learning rate."""
        return optax.scale_by_adam(self.b1, self.b2, self.epsilon)


@dataclass(frozen=True)
class Adafactor:
    """Adam's second moment by rows and columns (Shazeer and Stern 2018).

    Attributes:
        decay_rate: exponent of the decay of the second moment.
        weight_decay: decoupled: weights shrink by learning rate times this.
        clip: highest global norm of the gradient; None doesn't clip.
        decays: which parameters decay: (expression, true or false) pairs.
        rates: factor on the learning rate: (expression, factor) pairs; 0
            freezes a parameter.
    """

    decay_rate: float = 0.8
    weight_decay: float = 0.0
    clip: float | None = None
    decays: tuple[tuple[str, bool], ...] = MATRICES
    rates: tuple[tuple[str, float], ...] = ALL

    def direction(self) -> optax.GradientTransformation:
        """Gradients to an uphill direction, relative to the parameter's scale."""
        return optax.chain(
            optax.scale_by_factored_rms(decay_rate=self.decay_rate),
            optax.clip_by_block_rms(1.0),
            optax.scale_by_param_block_rms(),
        )


@dataclass(frozen=True)
class Lion:
    """The sign of an interpolated momentum (Chen et al. 2023).

    Attributes:
        b1: share of the momentum in the update.
        b2: decay of the momentum.
        weight_decay: decoupled: weights shrink by learning rate times this.
        clip: highest global norm of the gradient; None doesn't clip.
        decays: which parameters decay: (expression, true or false) pairs.
        rates: factor on the learning rate: (expression, factor) pairs; 0
            freezes a parameter.
    """

    b1: float = 0.9
    b2: float = 0.99
    weight_decay: float = 0.1
    clip: float | None = 1.0
    decays: tuple[tuple[str, bool], ...] = MATRICES
    rates: tuple[tuple[str, float], ...] = ALL

    def direction(self) -> optax.GradientTransformation:
        """Gradients to an uphill direction of unit learning rate."""
        return optax.scale_by_lion(self.b1, self.b2)


@dataclass(frozen=True)
class Muon:
    """Orthogonalised momentum for hidden matrices, Nesterov-Adam for the rest.

    Jordan et al. 2024; updates are scaled to Adam's root mean square, so that
    one learning rate serves both (Liu et al. 2025, eq. 4).

    Attributes:
        beta: decay of the momentum of hidden matrices.
        b1: Adam's decay of the mean of gradients, for the rest.
        b2: Adam's decay of the mean of squared gradients, for the rest.
        hidden: which parameters are orthogonalised.
        weight_decay: decoupled: weights shrink by learning rate times this.
        clip: highest global norm of the gradient; None doesn't clip.
        decays: which parameters decay: (expression, true or false) pairs.
        rates: factor on the learning rate: (expression, factor) pairs; 0
            freezes a parameter.
    """

    beta: float = 0.95
    b1: float = 0.9
    b2: float = 0.95
    hidden: tuple[tuple[str, bool], ...] = HIDDEN_KERNELS
    weight_decay: float = 0.1
    clip: float | None = 1.0
    decays: tuple[tuple[str, bool], ...] = MATRICES
    rates: tuple[tuple[str, float], ...] = ALL

    def direction(self) -> optax.GradientTransformation:
        """Gradients to an uphill direction of unit learning rate."""

        def axes(params):
            hidden = select(self.hidden, params, "optimizer.hidden")
            if not any(jax.tree.leaves(hidden)):
                raise UserError(
                    "optimizer.hidden selects no parameter, and Muon without any is "
                    "Adam. Name this model's hidden matrices there, such as "
                    '"layer_.*kernel$", or use AdamW.'
                )
            # The last two axes are the matrix; a scanned stack's first is not.
            return jax.tree.map(
                lambda chosen: MuonDimensionNumbers(-2, -1) if chosen else None, hidden
            )

        return muon(
            learning_rate=-1.0,
            beta=self.beta,
            adam_b1=self.b1,
            adam_b2=self.b2,
            muon_weight_dimension_numbers=axes,
            consistent_rms=0.2,
        )


Optimizer = SGD | AdamW | Adafactor | Lion | Muon


def transformation(
    optimizer: Optimizer, curve: Curve, params: Any
) -> optax.GradientTransformation:
    """The whole update rule of an optimizer value.

    Args:
        optimizer: the value.
        curve: learning rate of each step.
        params: the parameters, or their shapes.

    Raises:
        UserError: when a selector leaves a parameter out.
    """
    parts = []
    if optimizer.clip is not None:
        parts.append(optax.clip_by_global_norm(optimizer.clip))
    parts.append(optimizer.direction())
    if optimizer.weight_decay:
        mask = select(optimizer.decays, params, "optimizer.decays")
        parts.append(optax.add_decayed_weights(optimizer.weight_decay, mask))
    if optimizer.rates != ALL:
        rates = select(optimizer.rates, params, "optimizer.rates")
        parts.append(_scale_each(rates))
    parts.append(optax.scale_by_learning_rate(curve))
    return optax.chain(*parts)


def _scale_each(factors: Any) -> optax.GradientTransformation:
    def update(updates, params=None):
        return jax.tree.map(lambda u, factor: u * factor, updates, factors)

    return optax.stateless(update)
