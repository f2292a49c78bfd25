"""The state that a run goes on with: after an evaluation, and from a checkpoint."""

from typing import Any

import jax
import numpy as np

from lm_jax.averages import AverageAfter
from lm_jax.data import feed
from lm_jax.runs.checkpoints import Checkpoints
from lm_jax.sharding import share_of, to_mesh
from lm_jax.training.progress import Progress
from lm_jax.training.resolved import Setup
from lm_jax.training.state import TrainState, joined, split


def rescaled(setup: Setup, state: TrainState, progress: Progress) -> TrainState:
    """Let the schedule and the average answer to the evaluations so far."""
    scale = setup.experiment.schedule.scale(progress.losses)
    state = state.replace(
        scale=jax.device_put(np.float32(scale), setup.shardings.scale)
    )
    average, losses = setup.experiment.average, progress.losses
    if isinstance(average, AverageAfter) and not int(state.averaged):
        # The weights as they are now are the first of the average.
        began = np.int32(stuck(losses, average.evaluations))
        state = state.replace(averaged=jax.device_put(began, setup.shardings.averaged))
    return state


def stuck(losses: list[float], after: int) -> bool:
    """Whether the last loss is above the best of those before the last ``after``.

    The trigger of NT-ASGD (Merity et al. 2018, algorithm 1).
    """
    earlier = losses[: -after - 1]
    return bool(earlier) and losses[-1] > min(earlier)


def restored(
    setup: Setup, checkpoints: Checkpoints, step: int
) -> tuple[TrainState, Progress]:
    """The state of a checkpoint, and what the run knew of itself.

    An evaluation that was made only because a shorter budget ended there is forgotten,
    and what answered to it too.

    Raises:
        UserError: it can't be read.
    """
    params, rest = split(setup.saved_shapes())
    items, saved = checkpoints.restore(step, params | {"rest": rest})
    rest, progress = items.pop("rest"), Progress.from_json(saved)
    skipped: Any = None
    if setup.experiment.skip_bad_steps:
        skipped = jax.device_put(np.int32(progress.in_row), setup.shardings.skipped)
    state = setup.from_saved(joined(items, rest, skipped))
    if not step % setup.every[setup.experiment.watch] or step >= setup.total:
        return state, progress
    if state.averaged is not None and int(state.averaged) == 1:
        none = jax.device_put(np.int32(0), setup.shardings.averaged)
        state = state.replace(averaged=none)
    progress = progress.without(step)
    return rescaled(setup, state, progress), progress


def save_state(
    done: int,
    state: TrainState,
    progress: Progress,
    checkpoints: Checkpoints,
    mean: Any | None = None,
) -> None:
    """Begin to save a state.

    Args:
        done: its step.
        state: as checkpoints hold it.
        progress: of the run.
        checkpoints: where.
        mean: weights to use in place of the state's.
    """
    saved = progress.to_json()
    params, rest = split(state)
    if mean is not None:
        params["average"] = mean
    # A longer budget forgets what was found at this end alone: see `restored`.
    other = progress.without(done) if done % checkpoints.every else progress
    best = (each.best for each in (progress, other))
    checkpoints.save(done, params, rest, saved, *(pair[0] for pair in best if pair))


def before(
    setup: Setup, train_step: Any, checkpoints: Checkpoints, step: int
) -> TrainState:
    """The state before a step, made again from the last checkpoint.

    Args:
        setup: of the run.
        train_step: compiled.
        checkpoints: of which the last was saved at the last evaluation.
        step: after that.
    """
    checkpoints.wait()
    start = max((s for s in checkpoints.steps() if s < step), default=0)
    state = restored(setup, checkpoints, start)[0] if start else setup.first_state()
    constants = setup.constants()
    for fed in feed(setup.order, start, step - 1, share_of(setup.mesh)):
        state, _ = train_step(state, to_mesh(fed.rows, setup.mesh), constants)
    return state
