"""What changes from step to step."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax


class TrainState(flax.struct.PyTreeNode):
    """Everything that a checkpoint must hold to go on exactly.

    Attributes:
        step: updates made, int32.
        params: float32 parameters.
        opt_state: of the optimizer.
        average: moving average of the parameters, or None.
        averaged: weights in a plain average, int32; 0 before it begins. None
            where there is no plain average.
        scale: factor on the update, float32, set by evaluations.
        carry: what is left of the batch before, or None where batches don't
            continue each other.
        finite: bool, false from the first loss or gradient that isn't finite on;
            no update is made then.
    """

    # Any: the same tree also holds shapes, shardings and rules.
    step: Any
    params: Any
    opt_state: Any
    average: Any
    scale: Any
    finite: Any
    averaged: Any = None
    carry: Any = None

    @property
    def evaluated(self) -> Any:
        """The parameters to evaluate: the average where there is one."""
        return self.params if self.average is None else self.average


def first_state(
    params: Any,
    transformation: optax.GradientTransformation,
    average: bool,
    plain: bool = False,
    carry: Any = None,
) -> TrainState:
    """The state before the first step."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=transformation.init(params),
        average=jax.tree.map(jnp.copy, params) if average or plain else None,
        averaged=jnp.zeros((), jnp.int32) if plain else None,
        scale=jnp.ones(()),
        finite=jnp.ones((), bool),
        carry=carry,
    )
