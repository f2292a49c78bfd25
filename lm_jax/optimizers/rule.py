"""An optimizer value and a learning rate, as one optax transformation.

The parts are always in this order: clip the global norm, find the direction,
multiply by the parameter's own rate, add decoupled weight decay (or before that,
if it is rated), multiply by the learning rate and by -1.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from lm_jax.optimizers.base import ALL, MATRICES, OptimizerBase
from lm_jax.schedules import Curve
from lm_jax.selectors import select


def transformation(
    optimizer: OptimizerBase, curve: Curve, params: Any
) -> optax.GradientTransformation:
    """The whole update rule of an optimizer value.

    Args:
        optimizer: the value.
        curve: learning rate of each step.
        params: the parameters, or their shapes.

    Raises:
        UserError: a selector leaves a parameter out, or an expression in it that is
            no default matches nothing.
    """
    rates = select(optimizer.rates, params, "optimizer.rates", ALL)
    rated = [] if optimizer.rates == ALL else [_scale_each(rates)]
    decays = select(optimizer.decays, params, "optimizer.decays", MATRICES)
    # What has a rate of 0 stays as it is.
    mask = jax.tree.map(lambda decays, rate: decays and rate > 0, decays, rates)
    decay = optax.add_decayed_weights(optimizer.weight_decay, mask)
    decaying = [decay] if optimizer.weight_decay else []
    clip = optimizer.clip
    return optax.chain(
        *([] if clip is None else [_clipped(clip)]),
        optimizer.direction(),
        *(decaying + rated if optimizer.rated_decay else rated + decaying),
        optax.scale_by_learning_rate(curve),
    )


def _scale_each(factors: Any) -> optax.GradientTransformation:
    def update(updates, params=None):
        return jax.tree.map(lambda u, factor: u * factor, updates, factors)

    return optax.stateless(update)


def _clipped(highest: float) -> optax.GradientTransformationExtraArgs:
    """Scale gradients whose global norm is too high; a step knows the norm already."""

    def update(updates, state, params=None, *, norm=None, **_):
        norm = optax.tree.norm(updates) if norm is None else norm

        def clip(gradient):
            return jnp.where(norm < highest, gradient, gradient / norm * highest)

        return jax.tree.map(clip, updates), state

    return optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)
