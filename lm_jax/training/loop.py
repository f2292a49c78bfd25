"""The loop: steps, evaluations, samples and checkpoints of one run."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax

from lm_jax.data import Fed, feed
from lm_jax.distributed import check_alike, several
from lm_jax.evaluation import Found
from lm_jax.platform import give_back_memory
from lm_jax.runs.checkpoints import Checkpoints
from lm_jax.runs.display import Display
from lm_jax.runs.ledger import digest_of_parameters
from lm_jax.runs.model import NeuralModel
from lm_jax.sharding import share_of, to_mesh
from lm_jax.training.averaging import mean_of_checkpoints
from lm_jax.training.beginning import first_values, later_values
from lm_jax.training.blame import STATISTICS, Blamed, Spikes, diverged, save_spike
from lm_jax.training.clock import Clock
from lm_jax.training.compiled import Compiled
from lm_jax.training.guards import Interrupt
from lm_jax.training.outputs import Outputs
from lm_jax.training.progress import Progress
from lm_jax.training.resolved import Setup
from lm_jax.training.restart import rescaled, save_state
from lm_jax.training.scoring import Scored
from lm_jax.training.state import TrainState
from lm_jax.training.step import Constants

PARTED = (
    "One of them computed otherwise, or has read another text since. What was saved "
    "before is whole: start them again, and they go on from there. If it comes back, "
    "look at the devices and the disks of both."
)
Prune = Callable[[Progress], bool]
"""Told what evaluations have found, says whether to stop before the end."""


def keep_on(_: Progress) -> bool:
    """Never stop early."""
    return False


class Made(NamedTuple):
    """A step that was dispatched.

    Attributes:
        step: how many there are with it.
        metrics: of the device, perhaps not computed yet.
        fed: what it is made on.
    """

    step: int
    metrics: dict[str, jax.Array]
    fed: Fed


@dataclass(frozen=True)
class _Inside:
    """What the parts of the loop share."""

    setup: Setup
    compiled: Compiled
    progress: Progress
    checkpoints: Checkpoints
    outputs: Outputs
    spikes: Spikes


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Attributes:
        state, progress, clock: at the end.
        found: by each evaluation, the last that was made; empty when interrupted.
        signal: that ended it, or None.
        pruned: whether it was stopped before its end, since others do better.
    """

    state: TrainState
    progress: Progress
    clock: Clock
    found: dict[str, Found]
    signal: int | None
    pruned: bool = False


def train(
    setup: Setup,
    compiled: Compiled,
    state: TrainState,
    progress: Progress,
    checkpoints: Checkpoints,
    outputs: Outputs,
    interrupt: Interrupt,
    prune: Prune = keep_on,
) -> Outcome:
    """Train from a state to the end of the budget, or until interrupted or pruned.

    Metrics of a step are read after the next one is dispatched, so that the
    device never waits for the host.

    Raises:
        Diverged: when a loss, gradient or update is not finite.
        UserError: when the disk is full.
    """
    guard = compiled.guard()
    _compile(setup, compiled, state, outputs)
    constants = setup.constants()
    found: dict[str, Found] = {}
    pending: Made | None = None
    spikes = Spikes(setup.experiment.execution.spikes)
    inside = _Inside(setup, compiled, progress, checkpoints, outputs, spikes)
    first = int(state.step)
    pruned = first < setup.total and prune(progress)
    if pruned or _out_of_patience(setup, progress, outputs.display):
        first = setup.total
    outputs.clock.now("step")
    for done, batch, waited, fed in _feed(setup, first):
        state, metrics = _dispatch(inside, done, state, batch, constants)
        due, stop = _due(setup, done), interrupt.reached(done)
        if due or stop:
            state = compiled.taken(state)
        late, pending = pending, Made(done, metrics, fed)
        for item in (late, pending if due or stop else None):
            if item is not None:
                _record(inside, state, item)
        outputs.clock.step(waited)
        if not (due or stop):
            continue
        pending = mean = None
        if due:
            with outputs.clock.during("evaluation"):
                fitted, mean = _fitted(inside, state)
                found = _evaluate(inside, fitted, due)
        watched = setup.experiment.watch in due
        if watched:
            state = rescaled(setup, state, progress)
            guard.check()
        if watched or stop:
            _save(inside, state, done, mean, watched)
            pruned = done < setup.total and prune(progress)
            if stop or pruned or _out_of_patience(setup, progress, outputs.display):
                break
    outputs.watchdog.now("the end of the last save")
    checkpoints.wait()
    if not pruned and interrupt.received is None:
        found = _completed(inside, state, found)
    return Outcome(state, progress, outputs.clock, found, interrupt.received, pruned)


def _compile(
    setup: Setup, compiled: Compiled, state: TrainState, outputs: Outputs
) -> None:
    """Compile the steps of all shapes, and see that all processes have the same."""
    waiting = "compiling the step"
    outputs.watchdog.now(waiting)
    with outputs.clock.during("compiling"), outputs.display.waiting(waiting):
        compiled.plan(setup)
    outputs.watchdog.now("comparing the first step")
    check_alike("the first step", lambda: first_values(state.params, compiled.programs))


def _dispatch(
    inside: _Inside, done: int, state: Any, batch: dict, constants: Constants
) -> tuple[Any, dict[str, jax.Array]]:
    """Begin a step, without waiting for what it computes but where memory is short."""
    outputs, compiled = inside.outputs, inside.compiled
    outputs.watchdog.now(f"step {done}")
    outputs.profile.before(done, state)
    with jax.profiler.StepTraceAnnotation("train", step_num=done):
        state, metrics = compiled.step(state, batch, constants)
    outputs.profile.after(done, state, outputs.display, outputs.clock)
    if compiled.large:
        jax.block_until_ready(state)
        give_back_memory(compiled.large)
    return state, metrics


def _due(setup: Setup, done: int) -> list[str]:
    """Name the evaluations that are made after a step."""
    return [
        name
        for name, every in setup.every.items()
        if done % every == 0 or done == setup.total
    ]


def _save(
    inside: _Inside, state: TrainState, done: int, mean: Any | None, watched: bool
) -> None:
    """Save a checkpoint of a step; where it was scored, its digest goes to the ledger.

    Of several processes, none saves before all have the same: what is saved is good.

    Args:
        inside: what the parts of the loop share.
        state: after the step.
        done: steps made.
        mean: weights that were scored in place of the state's, if others were.
        watched: whether the step was scored by what the run watches.

    Raises:
        UserError: another process has other parameters, or another batch.
    """
    outputs, progress = inside.outputs, inside.progress
    outputs.watchdog.now(f"comparing the processes after step {done}")
    check_alike(
        f"after step {done}",
        lambda: later_values(inside.setup.order.batch(done - 1), state.params, done),
        PARTED,
    )
    progress.seconds = outputs.clock.seconds()
    with outputs.clock.during("checkpoints"):
        saved = inside.setup.to_saved(state)
        if watched:
            outputs.write(done, {}, parameters=digest_of_parameters(saved.params))
        outputs.watchdog.now(f"saving the checkpoint of step {done}")
        save_state(done, saved, progress, inside.checkpoints, mean)


def _feed(setup: Setup, first: int) -> Iterator[tuple[int, dict, float, Fed]]:
    """Batches from a step on: (steps done after it, batch, seconds waited, as fed)."""
    batches = feed(setup.order, first, setup.total, share_of(setup.mesh))
    for done in range(first + 1, setup.total + 1):
        begin = time.perf_counter()
        fed = next(batches)
        waited = time.perf_counter() - begin
        yield done, to_mesh(fed.rows, setup.mesh), waited, fed


def _record(inside: _Inside, state: Any, item: Made) -> None:
    """Read, write and show a step's metrics; save what led to one that went wrong.

    Args:
        inside: what the parts of the loop share.
        state: as the last step gave it.
        item: the step.

    Raises:
        Diverged: its numbers aren't finite, and it isn't skipped.
    """
    (step, metrics, fed), progress, outputs = item, inside.progress, inside.outputs
    values = {name: float(value) for name, value in jax.device_get(metrics).items()}
    finite, row = bool(values.pop("finite")), int(values.pop("skipped", 0))
    if finite:
        progress.skipped, progress.in_row = progress.skipped + bool(row), row
    skipped = {"skipped": float(progress.skipped)} if finite and row else {}
    # A share's digest names no batch.
    digest = None if several() else fed.digest
    seconds = outputs.clock.total()
    outputs.write(step, values | skipped, batch=digest, seconds=round(seconds, 3))
    rate = outputs.clock.steps_per_second()
    outputs.display.progress(
        step,
        values["loss"],
        abs(progress.losses[-1]) if progress.validation else None,
        rate and rate * inside.setup.units.tokens,
        f"{progress.skipped} skipped" if progress.skipped else "",
    )
    blamed = Blamed(step, values | {"batch": fed.digest}, fed)
    if not finite:
        folder = outputs.run / f"diverged_at_step_{step}"
        left = inside.compiled.taken(state)
        diverged(inside.setup, left, progress, inside.checkpoints, folder, blamed)
    if spike := "" if row else inside.spikes.told(values):
        with outputs.clock.during("checkpoints"):
            _save_spike(inside, spike, blamed)


def _save_spike(inside: _Inside, spike: str, blamed: Blamed) -> None:
    """Save what led to a spike, and say where; training goes on."""
    folder = inside.outputs.run / f"spike_at_step_{blamed.step}"
    show, step = inside.outputs.display.message, inside.compiled.step
    show(f"Step {blamed.step}: {spike}.")
    if (folder / STATISTICS).exists():
        return  # the run made this step before, and was stopped
    where = inside.progress, inside.checkpoints, folder
    show(save_spike(inside.setup, step, *where, blamed))


def _fitted(inside: _Inside, state: TrainState) -> tuple[Scored, Any | None]:
    """A state's model as evaluations see it, and the mean that it has for weights."""
    mean = mean_of_checkpoints(inside.setup, state, inside.checkpoints)
    return scored(inside.setup, inside.compiled, state, mean), mean


def scored(
    setup: Setup, compiled: Compiled, state: TrainState, mean: Any | None
) -> Scored:
    """A state's model beside its text, as evaluations see it.

    Args:
        setup, compiled: of the run.
        state: as it is.
        mean: the weights to use in place of the state's, as checkpoints hold them.
    """
    params = state.evaluated if mean is None else setup.weights_from_saved(mean)
    loaded = NeuralModel(
        experiment=setup.experiment,
        tokenizer=setup.data.tokenizer,
        model=setup.model,
        params=compiled.seen(params),
        context=setup.data.context,
        step=int(state.step),
        labels=setup.data.labels,
        frame=setup.data.frame,
    )
    functions = compiled.evaluation, compiled.told
    return Scored(loaded, setup.data, setup.mesh, *functions, setup.scoring_guide)


def _evaluate(inside: _Inside, fitted: Scored, due: list[str]) -> dict[str, Found]:
    """Make the evaluations that are due, write down and show what they found."""
    setup, progress, outputs = inside.setup, inside.progress, inside.outputs
    step, watch, clock = fitted.step, setup.experiment.watch, outputs.clock
    values: dict[str, float] = {}
    found: dict[str, Found] = {}
    for name in due:
        evaluation = setup.experiment.evaluations[name]
        outputs.watchdog.now(f"the evaluation '{name}' of step {step}")
        with clock.during("evaluation" if evaluation.watched else "samples"):
            made = evaluation.run(fitted, "validation", outputs.work)
        found[name] = made
        prefix = "validation" if name == watch else name
        values |= {f"{prefix}_{key}": value for key, value in made.scores.items()}
        if name == watch:
            score = made.scores[evaluation.watched]
            progress.add(step, score, evaluation.larger_is_better)
        outputs.show(step, name, made, best=name == watch and progress.is_best(step))
    rate = clock.steps_per_second()
    if rate and watch in due:
        values |= {
            "tokens_per_second": rate * setup.units.tokens,
            "data_wait": clock.data_wait(),
        }
    if values:
        outputs.write(step, values)
    return found


def _completed(
    inside: _Inside, state: TrainState, found: dict[str, Found]
) -> dict[str, Found]:
    """Add to what was found at the end the scores that were not due there.

    Patience ended the run; or it had ended before, perhaps without having written its
    result.
    """
    lacking = {
        name: evaluation
        for name, evaluation in inside.setup.experiment.evaluations.items()
        if evaluation.watched and name not in found
    }
    if not lacking:
        return found
    fitted, _ = _fitted(inside, state)
    return found | {
        name: evaluation.run(fitted, "validation", inside.outputs.work)
        for name, evaluation in lacking.items()
    }


def _out_of_patience(setup: Setup, progress: Progress, display: Display) -> bool:
    patience = setup.experiment.patience
    if patience is None or progress.waited() < patience:
        return False
    display.message(f"Stopped: no better validation loss in {patience} evaluations.")
    return True
