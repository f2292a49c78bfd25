"""One training step and one evaluation step: pure functions."""

import zlib
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key

from lm_jax.objectives import NextToken
from lm_jax.schedules import Curve
from lm_jax.training.state import TrainState

Batch = dict[str, Array]


def named_key(seed: int, purpose: str) -> Key[Array, ""]:
    """The key of one purpose: no other purpose's draws can move it."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(purpose.encode()))


def make_train_step(
    model: nn.Module,
    objective: NextToken,
    transformation: optax.GradientTransformation,
    curve: Curve,
    *,
    seed: int,
    accumulate: int = 1,
    average: float = 0.0,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, Array]]]:
    """Make ``train_step(state, batch) -> (state, metrics)``.

    One call is one optimizer update. The loss is a sum over the whole batch
    divided once by its weight, so that parts, masks and devices don't change
    it. A loss or gradient that isn't finite leaves the state as it was and
    clears ``state.finite``, which stops all later updates.

    Args:
        model, objective: what is trained, and to do what.
        transformation: optax's update rule.
        curve: learning rate of each step, for the metrics.
        seed: of dropout.
        accumulate: parts that a batch is computed in; must divide its rows.
        average: decay of the moving average of the weights; 0 has none.
    """
    root = named_key(seed, "dropout")

    def sums(params: Any, batch: Batch, key: Array):
        loss, weight, metrics = objective(model, params, batch, key)
        return loss, (weight, metrics)

    def gradients(params: Any, batch: Batch, key: Array):
        value, gradient = jax.value_and_grad(sums, has_aux=True)(params, batch, key)
        return (*value, gradient)

    def train_step(state: TrainState, batch: Batch):
        key = jax.random.fold_in(root, state.step)
        rows = batch["inputs"].shape[0]
        batch = batch | {"row": jnp.arange(rows)}
        if accumulate == 1:
            total = gradients(state.params, batch, key)
        else:
            total = _accumulated(gradients, state.params, batch, key, accumulate)
        loss, (weight, _), gradient = total
        weight = jnp.maximum(weight, 1.0)
        loss = loss / weight
        gradient = jax.tree.map(lambda g: g / weight, gradient)
        norm = optax.tree.norm(gradient)
        finite = state.finite & jnp.isfinite(loss) & jnp.isfinite(norm)
        new = _updated(state, gradient, transformation, average)
        new = jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, state)
        metrics = {
            "loss": loss,
            "grad_norm": norm,
            "learning_rate": curve(state.step) * state.scale,
        }
        return new.replace(finite=finite), metrics

    return train_step


def _accumulated(gradients, params, batch: Batch, key: Array, parts: int):
    """Sum over parts of the batch, each of every parts-th row.

    Strided parts keep each row on the device that holds it.
    """
    split = jax.tree.map(
        lambda x: jnp.swapaxes(x.reshape(-1, parts, *x.shape[1:]), 0, 1), batch
    )

    def add(total, part):
        return jax.tree.map(jnp.add, total, gradients(params, part, key)), None

    shapes = jax.eval_shape(gradients, params, jax.tree.map(lambda x: x[0], split), key)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return jax.lax.scan(add, zeros, split)[0]


def _updated(state: TrainState, gradient, transformation, average: float):
    updates, opt_state = transformation.update(gradient, state.opt_state, state.params)
    updates = jax.tree.map(lambda u: u * state.scale, updates)
    params = optax.apply_updates(state.params, updates)
    averaged = state.average
    if averaged is not None:
        averaged = optax.incremental_update(params, averaged, 1.0 - average)
    return state.replace(
        step=state.step + 1, params=params, opt_state=opt_state, average=averaged
    )


def make_evaluation_step(
    model: nn.Module, objective: NextToken
) -> Callable[[Any, Batch], dict[str, Array]]:
    """Make ``evaluation_step(params, batch) -> sums``: "nats" and "weight"."""

    def evaluation_step(params: Any, batch: Batch) -> dict[str, Array]:
        _, weight, metrics = objective(model, params, batch, None)
        return metrics | {"weight": weight}

    return evaluation_step
