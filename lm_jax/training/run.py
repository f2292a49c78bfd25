"""Start a run, go on with it, or read it back."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax

from lm_jax.errors import UserError
from lm_jax.experiment import (
    Experiment,
    differences,
    from_json,
    save,
    to_json,
)
from lm_jax.runs.directory import atomic_write, open_run
from lm_jax.runs.display import Display
from lm_jax.runs.environment import record_environment
from lm_jax.runs.metrics import MetricsLog, truncate_samples
from lm_jax.runs.picture import draw_run
from lm_jax.runs.result import write_result
from lm_jax.runs.sinks import open_sinks
from lm_jax.training.checkpoints import Checkpoints
from lm_jax.training.guards import Interrupt
from lm_jax.training.loop import Outcome, Outputs, train
from lm_jax.training.progress import Progress
from lm_jax.training.setup import Setup, set_up
from lm_jax.training.state import TrainState


def train_run(
    experiment: Experiment, run: Path, setup: Setup, display: Display
) -> Outcome:
    """Train in a run directory, from its last checkpoint if it has one.

    Raises:
        UserError: when the directory holds another experiment, is in use, has
            a damaged checkpoint, or can't be written.
    """
    with open_run(run), Interrupt() as interrupt:
        claim(experiment, run)
        record_environment(run)
        checkpoints = Checkpoints(run / "checkpoints", experiment.keep)
        state, progress = _start(setup, checkpoints, display)
        first = int(state.step)
        log = MetricsLog(run / "metrics.jsonl")
        log.truncate_after(first)
        truncate_samples(run / "samples.txt", first)
        if first >= setup.total:
            display.message("The run has ended: there is nothing left to train.")
        sinks = open_sinks(experiment.outputs, run, to_json(experiment), first)
        outputs = Outputs(run, display, log, sinks)
        try:
            outcome = train(setup, state, progress, checkpoints, outputs, interrupt)
        finally:
            display.close()
            checkpoints.close()
            log.close()
            for sink in sinks:
                sink.close()
        ended = (run / "result.json").exists() and first == int(outcome.state.step)
        if outcome.signal is None and not ended:
            finish(setup, run, outcome)
        return outcome


def claim(experiment: Experiment, run: Path) -> None:
    """Write experiment.json, or see that the one there is the same.

    Raises:
        UserError: with the differences, when it isn't.
    """
    path = run / "experiment.json"
    if not path.exists():
        atomic_write(path, save(experiment))
        return
    there = read_experiment(run)
    changed = differences(there, experiment)
    if changed:
        lines = "\n".join(f"  {name}: {a} there, {b} now" for name, a, b in changed)
        raise UserError(
            f"{run} holds another experiment:\n{lines}\n"
            "Train this one elsewhere with --run DIRECTORY."
        )


def read_experiment(run: Path) -> Experiment:
    """The experiment of a run.

    Raises:
        UserError: when it can't be read.
    """
    path = run / "experiment.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read: {error}.") from error
    return from_json(document)


def _start(
    setup: Setup, checkpoints: Checkpoints, display: Display
) -> tuple[TrainState, Progress]:
    """The first state, or the last one saved."""
    steps = checkpoints.steps()
    if not steps:
        return setup.first_state(), Progress()
    like = jax.tree.map(
        lambda shape, placed: jax.ShapeDtypeStruct(
            shape.shape, shape.dtype, sharding=placed
        ),
        setup.shapes,
        setup.shardings,
    )
    state, saved = checkpoints.restore(steps[-1], like)
    display.message(f"Going on from the checkpoint of step {steps[-1]}.")
    return state, Progress.from_json(saved)


def finish(setup: Setup, run: Path, outcome: Outcome) -> None:
    """Write result.json and curve.png of a run that reached its end."""
    published = setup.experiment.published
    steps = int(outcome.state.step)
    best = outcome.progress.best
    rate = outcome.clock.steps_per_second() or 0.0
    result = {
        "steps": steps,
        "tokens": steps * setup.units.tokens,
        "parameters": setup.parameters,
        "validation": outcome.scores,
        "best": {"step": best[0], "loss": best[1]} if best else None,
        "published": dataclasses.asdict(published) if published else None,
        "seconds": outcome.progress.seconds,
        "tokens_per_second": rate * setup.units.tokens,
        "data_wait": outcome.clock.data_wait(),
        "devices": setup.mesh.size,
        "platform": jax.devices()[0].platform,
    }
    write_result(run, result)
    reference = (published.source, published.loss) if published else None
    draw_run(run, run / "curve.png", reference)


def load_run(run: Path, step: int | None = None) -> tuple[Setup, Any, int]:
    """Read a trained model back, onto the devices that are here now.

    Args:
        run: its directory.
        step: of the checkpoint; None takes the best one.

    Returns:
        The setup, the parameters to evaluate, and the step they are of.

    Raises:
        UserError: when there is no such checkpoint or it can't be read.
    """
    experiment = read_experiment(run)
    # One device reads what any number wrote.
    setup = set_up(experiment)
    checkpoints = Checkpoints(run / "checkpoints", experiment.keep)
    steps = checkpoints.steps()
    if not steps:
        raise UserError(f"{run} has no checkpoint yet.")
    if step is not None and step not in steps:
        raise UserError(f"{run} has checkpoints of steps {steps}, none of {step}.")
    like = jax.tree.map(
        lambda shape, placed: jax.ShapeDtypeStruct(
            shape.shape, shape.dtype, sharding=placed
        ),
        setup.shapes,
        setup.shardings,
    )
    state, saved = checkpoints.restore(step or steps[-1], like)
    if step is None:
        best = Progress.from_json(saved).best
        if best and best[0] in steps and best[0] != steps[-1]:
            state, _ = checkpoints.restore(best[0], like)
    return setup, state.evaluated, int(state.step)
