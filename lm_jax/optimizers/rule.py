"""An optimizer value and a learning rate, as one optax transformation.

The parts are always in this order: clip the global norm, find the direction,
multiply by the parameter's own rate, add decoupled weight decay and what else draws
weights (or before that, if it is rated), multiply by the learning rate, by the scale
that evaluations set and by -1, and keep within the highest norms. Parameters whose
training begins later have no update before.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from lm_jax.errors import UserError
from lm_jax.optimizers.base import ALL, FREE, MATRICES, OptimizerBase
from lm_jax.optimizers.gradual import waiting, zero_before
from lm_jax.schedules import Curve
from lm_jax.selectors import is_scanned, path_name, select


def transformation(
    optimizer: OptimizerBase,
    curve: Curve,
    params: Any,
    begins: Any = None,
    known: Any = None,
) -> optax.GradientTransformation:
    """The whole update rule of an optimizer value.

    Args:
        optimizer: the value.
        curve: learning rate of each step.
        params: the parameters, or their shapes.
        begins: the step at which the training of each begins; None is the first for
            all. With it, an update is told the ``step``.
        known: all parameters, where only some are trained: selectors may name those
            that aren't, as `layerwise_rates` does.

    Returns:
        The rule. An update is told the ``scale`` of its learning rate, if it isn't 1.

    Raises:
        UserError: a selector leaves a parameter out, or an expression in it that is
            no default matches nothing; what is no matrix has a highest norm.
    """
    rates = select(optimizer.rates, params, "optimizer.rates", ALL, known)
    rated = [] if optimizer.rates == ALL else [_scale_each(rates)]
    decays = select(optimizer.decays, params, "optimizer.decays", MATRICES, known)
    # What has a rate of 0 stays as it is.
    mask = jax.tree.map(lambda decays, rate: decays and rate > 0, decays, rates)
    decaying = _drawn(optimizer, mask)
    clip, direction = optimizer.clip, optimizer.direction()
    return optax.chain(
        *([] if clip is None else [_clipped(clip)]),
        direction if begins is None else waiting(direction, begins),
        *(decaying + rated if optimizer.rated_decay else rated + decaying),
        _learning_rate(curve),
        *_bounded(optimizer, params, known),
        *([] if begins is None else [zero_before(begins)]),
    )


def _learning_rate(curve: Curve) -> optax.GradientTransformationExtraArgs:
    """Multiply by the learning rate, and the scale of it, downhill."""
    rule = optax.scale_by_learning_rate(curve)

    def update(updates, state, params=None, *, scale=1.0, **_):
        updates, state = rule.update(updates, state, params)
        return jax.tree.map(lambda update: update * scale, updates), state

    return optax.GradientTransformationExtraArgs(rule.init, update)


def _drawn(optimizer: OptimizerBase, mask: Any) -> list[optax.GradientTransformation]:
    """What draws weights to zero, or to where they began."""
    drawing = []
    if optimizer.weight_decay:
        drawing.append(optax.add_decayed_weights(optimizer.weight_decay, mask))
    if optimizer.towards_initial:
        back = _towards_initial(optimizer.towards_initial)
        drawing.append(optax.masked(back, mask))
    if optimizer.l1:
        drawing.append(optax.masked(_signs(optimizer.l1), mask))
    return drawing


def _towards_initial(weight: float) -> optax.GradientTransformation:
    def update(updates, first, params=None):
        def add(update, param, began):
            return update + weight * (param - began)

        return jax.tree.map(add, updates, params, first), first

    return optax.GradientTransformation(lambda p: jax.tree.map(jnp.copy, p), update)


def _signs(weight: float) -> optax.GradientTransformation:
    def update(updates, params=None):
        return jax.tree.map(lambda u, p: u + weight * jnp.sign(p), updates, params)

    return optax.stateless(update)


def _bounded(
    optimizer: OptimizerBase, params: Any, known: Any
) -> list[optax.GradientTransformation]:
    """Keep the columns of matrices within their highest norm."""
    if optimizer.max_norms == FREE:
        return []
    # None is no leaf of a tree.
    norms = [(e, jnp.inf if norm is None else norm) for e, norm in optimizer.max_norms]
    highest = select(norms, params, "optimizer.max_norms", FREE, known)

    def check(path: Any, leaf: Any, norm: float) -> None:
        name = path_name(path)
        if norm < jnp.inf and len(leaf.shape) - is_scanned(name) < 2:
            raise UserError(
                f"optimizer.max_norms gives '{name}', which is no matrix, a norm of "
                f"{norm}. Let the expression end in 'kernel$' or 'embedding$'."
            )

    jax.tree_util.tree_map_with_path(check, params, highest)

    def bound(update: Any, param: Any, norm: float) -> Any:
        if norm == jnp.inf:
            return update
        new = param + update
        # The inputs of a matrix are its last axis but one.
        length = jnp.linalg.norm(new, axis=-2, keepdims=True)
        return jnp.where(length > norm, new / length * norm, new) - param

    def update(updates, params=None):
        return jax.tree.map(bound, updates, params, highest)

    return [optax.stateless(update)]


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
