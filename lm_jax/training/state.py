"""What changes from step to step."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from lm_jax.averages import AverageAfter, Running


class TrainState(flax.struct.PyTreeNode):
    """Everything that a checkpoint must hold to go on exactly.

    Attributes:
        step: updates made, int32.
        params: float32 parameters.
        opt_state: of the optimizer.
        average: of the parameters, or None.
        averaged: weights in an average that counts them, int32; 0 before it
            begins, else None.
        scale: factor on the update, float32, set by evaluations.
        carry: what is left of the batch before, or None where batches don't
            continue each other.
        finite: bool, false from the first loss, gradient or update on that isn't
            finite and isn't skipped; no update is made then.
        skipped: steps in a row up to this one that were skipped, int32; None where
            none may be.
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
    skipped: Any = None

    @property
    def evaluated(self) -> Any:
        """The parameters to evaluate: the average where there is one."""
        return self.params if self.average is None else self.average


def first_state(
    params: Any,
    transformation: optax.GradientTransformation,
    average: Running | None = None,
    carry: Any = None,
    trained: Any = None,
    skips: bool = False,
) -> TrainState:
    """The state before the first step.

    Args:
        params: all parameters.
        transformation: optax's update rule.
        average: of the parameters, that each step adds to.
        carry: what is left of no batch yet.
        trained: the parameters that are trained; all, if None.
        skips: whether steps may be skipped.
    """
    counts = isinstance(average, AverageAfter)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=transformation.init(params if trained is None else trained),
        average=None if average is None else jax.tree.map(jnp.copy, params),
        averaged=jnp.zeros((), jnp.int32) if counts else None,
        scale=jnp.ones(()),
        finite=jnp.ones((), bool),
        carry=carry,
        skipped=jnp.zeros((), jnp.int32) if skips else None,
    )


def split(state: TrainState) -> tuple[dict[str, Any], TrainState]:
    """Part a state into what a model needs to be used, and the rest.

    Returns:
        "params", and "average" where there is one; and the state without them, and
        without what the run's progress knows.
    """
    params = {"params": state.params}
    if state.average is not None:
        params["average"] = state.average
    return params, state.replace(params=None, average=None, skipped=None)


def joined(params: dict[str, Any], rest: TrainState, skipped: Any = None) -> TrainState:
    """Put together what `split` parted."""
    return rest.replace(
        params=params["params"], average=params.get("average"), skipped=skipped
    )
