"""Start a run, or go on with it."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lm_jax.averages import checkpoints_of
from lm_jax.distributed import check_alike, deadline, meet, several, writes
from lm_jax.durations import in_steps
from lm_jax.errors import UserError
from lm_jax.experiment import Experiment, to_json
from lm_jax.files import near
from lm_jax.runs.base import keep_base
from lm_jax.runs.checkpoints import Checkpoints, check_name, read_progress, steps_of
from lm_jax.runs.claim import EXTENDS, check_claim, keep_claim
from lm_jax.runs.code import changed_code
from lm_jax.runs.directory import mark_stopped, open_run
from lm_jax.runs.display import Display
from lm_jax.runs.environment import record_environment
from lm_jax.runs.guide import keep_guide
from lm_jax.runs.ledger import Past
from lm_jax.runs.metrics import MetricsLog, truncate_samples
from lm_jax.runs.model import keep_model
from lm_jax.runs.result import mark_longer
from lm_jax.runs.sinks import open_sinks
from lm_jax.training.beginning import beginning
from lm_jax.training.clock import Clock
from lm_jax.training.compiled import Compiled
from lm_jax.training.ending import finish, has_result
from lm_jax.training.guards import Interrupt
from lm_jax.training.loop import Outcome, Prune, keep_on, train
from lm_jax.training.memory import check_batch, is_out_of_memory, ran_out
from lm_jax.training.outputs import Outputs
from lm_jax.training.planned import length_of
from lm_jax.training.profiling import Profile
from lm_jax.training.progress import Progress
from lm_jax.training.resolved import Setup
from lm_jax.training.restart import restored
from lm_jax.training.state import TrainState
from lm_jax.training.watchdog import LATER, Watchdog


def train_run(
    experiment: Experiment,
    run: Path,
    setup: Setup,
    display: Display,
    compiled: Compiled | None = None,
    prune: Prune = keep_on,
    interrupt: Interrupt | None = None,
    profile: Profile = Profile(None),
) -> Outcome:
    """Train in a run directory, from its last checkpoint if it has one.

    Args:
        experiment: of the run.
        run: its directory.
        setup: of the experiment.
        display: what a person sees.
        compiled: functions of the same recipe, if a run of another seed has them.
        prune: says whether it is stopped before its end; it has no result then.
        interrupt: that listens already; where there is none, one does.
        profile: traces some of its steps.

    Raises:
        UserError: when the directory holds another experiment, is in use, has
            a damaged checkpoint, can't be written or has a name that is a pattern; a
            step doesn't fit into memory; steps that are to be traced won't be made.
    """
    check_name(run)
    made = steps_of(run)
    clock = Clock("restart" if made else "start", setup.seconds)
    check_batch(setup)
    last = made[-1] if made else 0
    profile.check(last, setup.total)
    compiled = compiled or Compiled(setup)
    listening = Interrupt() if interrupt is None else nullcontext(interrupt)
    opened = open_run(run) if writes() else nullcontext(run)
    # Who waits for others gives up before that, and names them.
    watching = Watchdog(deadline() + LATER if several() else None)
    with opened, listening as interrupt, watching as watchdog:
        check_alike("what they begin with", lambda: beginning(setup))
        watchdog.now("looking at the run")
        checkpoints = Checkpoints(
            run / "checkpoints",
            experiment.execution.keep,
            setup.every[experiment.watch],
            checkpoints_of(experiment.average),
            setup.left_arrays,
        )
        _begin(setup, run, checkpoints, display, watchdog)
        watchdog.now("the first state, or the last that was saved,")
        state, progress = _start(setup, compiled, checkpoints, display)
        first = int(state.step)
        if first >= setup.total:
            more = "" if has_result(run, first) else ", and is scored now"
            display.message(f"All of its steps are made{more}: none is left to train.")
        outputs = _open(experiment, run, first, display)
        clock.add_past(progress.seconds, outputs.past.seconds)
        outputs = replace(outputs, watchdog=watchdog, clock=clock, profile=profile)
        try:
            outcome = train(
                setup,
                compiled,
                state,
                progress,
                checkpoints,
                outputs,
                interrupt,
                prune,
            )
        except (MemoryError, jax.errors.JaxRuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise UserError(ran_out(setup, error)) from error
        finally:
            display.close()
            checkpoints.close()
            outputs.close()
        if writes():
            _end(setup, run, first, outcome)
        return outcome


def _begin(
    setup: Setup,
    run: Path,
    checkpoints: Checkpoints,
    display: Display,
    watchdog: Watchdog,
) -> None:
    """See that a run is this experiment's, and write what it keeps before its steps.

    Raises:
        UserError: it is another's, or its directory isn't seen by all processes.
    """
    experiment, made = setup.experiment, steps_of(run)
    before = check_claim(
        experiment, setup.data, run, lambda was: _check(was, setup, checkpoints)
    )
    if changed := changed_code(run):
        display.message(changed)
    meet("the run is looked at")
    watchdog.now("beginning the run")
    if writes():
        mark_stopped(run, None)
        longer = _is_longer(before, experiment)
        # Without a checkpoint it is refused, and its result stays.
        if made and (longer or not has_result(run, made[-1])):
            mark_longer(run, experiment.budget)
        _keep(setup, run)
    meet("the run is begun")
    _check_shared(run)


def _end(setup: Setup, run: Path, first: int, outcome: Outcome) -> None:
    """Write a run's result; of one that was interrupted, where it stands."""
    last = int(outcome.state.step)
    if outcome.signal is not None:
        mark_stopped(run, last)
    elif not outcome.pruned:
        finish(setup, run, outcome, first == last and has_result(run, first))


def _is_longer(before: Any, now: Experiment) -> bool:
    """Whether a run that had begun is to end elsewhere than it was to."""
    return before is not None and any(
        getattr(before, name) != getattr(now, name) for name in EXTENDS
    )


def _keep(setup: Setup, run: Path) -> None:
    """Write what a run keeps of how it is made, before its first step."""
    experiment, data = setup.experiment, setup.data
    keep_claim(experiment, data, run)
    if setup.guided is not None:
        keep_guide(run, setup.guided.about())
    if setup.start is not None:
        keep_base(run, setup.start.there, setup.left)
    keep_model(run, data.tokenizer, setup.model, data.context, data.labels, data.frame)
    dtype = getattr(setup.model, "dtype", "float32")
    record_environment(run, to_json(experiment.execution), dtype)


def _check_shared(run: Path) -> None:
    """See that the first process's directory is this one's too.

    Raises:
        UserError: it isn't.
    """
    if not (run / "experiment.json").exists():
        raise UserError(
            f"Process {jax.process_index()} doesn't see what process 0 has written to "
            f"{run}: give a --run DIRECTORY on a disk that all of them share."
        )


def _open(experiment: Experiment, run: Path, first: int, display: Display) -> Outputs:
    """Open what a run writes of its steps, cut back to the one that it goes on from."""
    if not writes():
        return Outputs(run, display, None, [], Past())
    log = MetricsLog(run / "metrics.jsonl")
    past = Past(log.truncate_after(first))
    truncate_samples(run / "samples.txt", first)
    sinks = open_sinks(experiment.outputs, run, to_json(experiment), first)
    return Outputs(run, display, log, sinks, past)


def _check(before: Any, setup: Setup, checkpoints: Checkpoints) -> None:
    """See that what is another now leaves the steps that were made as they are.

    Raises:
        UserError: it doesn't, and how to start from the run instead.
    """
    steps = checkpoints.steps()
    done = steps[-1] if steps else 0
    if steps:
        _check_trained(checkpoints.directory, done)
    skips = before.skip_bad_steps
    if done and setup.experiment.skip_bad_steps < skips:
        folder = checkpoints.directory / str(done)
        if skipped := read_progress(folder).get("skipped", 0):
            raise UserError(
                f"The run has skipped {skipped} steps that were not finite: go on with "
                f"--skip-bad-steps {skips} or more."
            )
    if before.budget == setup.experiment.budget or not done:
        return
    run = near(checkpoints.directory.parent)
    advice = (
        "To train anew, give another --run DIRECTORY; to train longer from what it has "
        f"learnt, --from {run} --run DIRECTORY."
    )
    if setup.total < done:
        raise UserError(
            f"The budget '{setup.experiment.budget}' is {in_steps(setup.total)}, and "
            f"the run has made {done:,} already. Give it as many or more."
        )
    old, _ = length_of(before, setup.units)
    made = jnp.arange(done)
    if not np.array_equal(jax.vmap(old)(made), jax.vmap(setup.curve)(made)):
        raise UserError(
            f"The run can't go on with a budget of '{setup.experiment.budget}': under "
            f"{type(setup.experiment.schedule).__name__} the learning rates of the "
            f"{done:,} steps made would have been others than with '{before.budget}'. "
            f"{advice}"
        )


def _check_trained(directory: Path, step: int) -> None:
    """See that a checkpoint was saved in training.

    Raises:
        UserError: it holds parameters alone, as imported, quantized and merged runs do.
    """
    if "validation" not in read_progress(directory / str(step)):
        run = near(directory.parent)
        raise UserError(
            f"{run} has parameters, and nothing of a training to go on with: it was "
            "imported, quantized or merged. Begin another run from it: "
            f"--from {run} --run DIRECTORY."
        )


def _start(
    setup: Setup,
    compiled: Compiled,
    checkpoints: Checkpoints,
    display: Display,
) -> tuple[TrainState, Progress]:
    """The first state, or the last one saved."""
    steps = checkpoints.steps()
    if not steps and (result := checkpoints.directory.parent / "result.json").exists():
        raise UserError(
            f"{checkpoints.directory} has no checkpoint, and {result.name} says that "
            "the run has ended. Put the checkpoints back, or give another --run."
        )
    if not steps:
        seed = setup.experiment.seed_of("initial")
        with display.waiting("drawing the first parameters"):
            return compiled.first_state(seed), Progress()
    state, progress = restored(setup, checkpoints, steps[-1])
    display.message(f"Going on from the checkpoint of step {steps[-1]}.")
    return state, progress
