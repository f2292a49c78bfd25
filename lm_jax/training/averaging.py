"""The mean of the weights of the last checkpoints."""

from typing import Any

import jax
import jax.numpy as jnp

from lm_jax.averages import checkpoints_of
from lm_jax.errors import UserError
from lm_jax.runs.checkpoints import Checkpoints
from lm_jax.training.resolved import Setup
from lm_jax.training.state import TrainState


def mean_of_checkpoints(
    setup: Setup, state: TrainState, checkpoints: Checkpoints
) -> Any | None:
    """The mean of a state's weights and those at the watched evaluations before it.

    Steps of a checkpoint that was saved for another reason, as when the run was
    stopped, have no share: it is the same as if the run had never stopped.

    Returns:
        The parameters as checkpoints hold them; None where the experiment averages
        otherwise.

    Raises:
        UserError: a checkpoint is not there any more, or damaged.
    """
    before = checkpoints_of(setup.experiment.average)
    if not before:
        return None
    every = setup.every[setup.experiment.watch]
    steps = range(every, int(state.step), every)[-before:]
    checkpoints.wait()
    if lost := [step for step in steps if step not in checkpoints.steps()]:
        raise UserError(
            f"{checkpoints.directory} lacks the checkpoint of step {lost[0]}, which "
            f"average={setup.experiment.average} is made of. Put it back."
        )
    total = setup.to_saved(state).params
    shapes = setup.saved_shapes().params
    for step in steps:
        total = jax.tree.map(jnp.add, total, checkpoints.read_params(step, shapes))
    mean = jax.tree.map(lambda leaf: leaf / (len(steps) + 1), total)
    # The mean of what stays is itself, and not what sums of it are rounded to.
    return checkpoints.whole(mean, shapes)
