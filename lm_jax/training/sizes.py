"""What a model amounts to, from its shapes alone: nothing is compiled."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from lm_jax.data import Order, Prepared
from lm_jax.durations import Units
from lm_jax.models.stack import initialise
from lm_jax.objectives import Objective, ObjectiveBase


def parameter_shapes(
    model: Any, objective: Objective | ObjectiveBase, example: dict[str, jax.Array]
) -> Any:
    """The shapes of a model's parameters.

    Args:
        model: with all that the data knows filled in.
        objective: by which it is called.
        example: a batch of one row.
    """
    key, predict = jax.random.key(0), objective.predict
    return jax.eval_shape(lambda: initialise(model, key, example, method=predict))


def count(params: Any) -> int:
    """Number of parameters."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def units_of(order: Order, data: Prepared, model: Any, params: Any) -> Units:
    """What a step amounts to; six operations a parameter where the model says none."""
    flops = model.flops_per_token(data.context)
    flops = 6.0 * count(params) if flops is None else flops
    return Units(
        tokens=order.tokens,
        steps_per_epoch=order.steps_per_epoch,
        flops=order.tokens * flops,
    )


def example_of(data: Prepared) -> dict[str, jax.Array]:
    """A batch of one row, all zeros, with the fields of the data."""
    return {
        field.name: jnp.zeros((1, *field.sized(data.context)), field.dtype)
        for field in data.training_fields
    }
