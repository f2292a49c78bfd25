"""The loop: steps, evaluations, samples and checkpoints of one run."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lm_jax.averages import AverageAfter, running
from lm_jax.data import feed
from lm_jax.errors import Diverged
from lm_jax.evaluation import Found
from lm_jax.platform import give_back_memory
from lm_jax.runs.checkpoints import Checkpoints
from lm_jax.runs.display import Display
from lm_jax.runs.metrics import MetricsLog, append_sample
from lm_jax.runs.model import NeuralModel
from lm_jax.runs.sinks import Sink
from lm_jax.sharding import to_mesh
from lm_jax.training.averaging import mean_of_checkpoints
from lm_jax.training.guards import CompileGuard, Interrupt, save_blame
from lm_jax.training.memory import check_plan
from lm_jax.training.progress import Clock, Progress
from lm_jax.training.scoring import Scored, compile_evaluation
from lm_jax.training.setup import Setup
from lm_jax.training.state import TrainState, split
from lm_jax.training.step import make_gradients, make_train_step

SHOWN = ("loss", "bits_per_byte", "masked_accuracy", "accuracy")


@dataclass(frozen=True)
class Outputs:
    """Where a run writes, and what it shows."""

    run: Path
    display: Display
    metrics: MetricsLog
    sinks: list[Sink]

    def write(self, step: int, values: dict[str, float]) -> None:
        """One line of metrics.jsonl, and the same to every sink."""
        self.metrics.write(step, values)
        for sink in self.sinks:
            sink.write(step, values)

    def show(self, step: int, name: str, found: Found, best: bool) -> None:
        """What an evaluation found, for people; texts go to samples.txt too."""
        shown = {key: found.scores[key] for key in SHOWN if key in found.scores}
        if shown or found.scores:
            self.display.evaluation(step, name, shown or found.scores, best)
        for text in found.texts:
            append_sample(self.run / "samples.txt", step, text)
            self.display.sample(step, text)


@dataclass(frozen=True)
class Compiled:
    """The jitted functions of a run; those of another seed are the same.

    Attributes:
        step: of (state, batch, seed), the seed as `Setup.placed_seed` has it.
        evaluation: of (parameters, batch, carry).
        guard: of both.
    """

    step: jax.stages.Wrapped
    evaluation: jax.stages.Wrapped
    guard: CompileGuard


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Attributes:
        state, progress, clock: at the end.
        scores: of each evaluation, the last that was made; empty when interrupted.
        signal: that ended it, or None.
    """

    state: TrainState
    progress: Progress
    clock: Clock
    scores: dict[str, dict[str, float]]
    signal: int | None


def compile_functions(setup: Setup) -> Compiled:
    """Jit the training and evaluation steps; nothing is compiled yet."""
    experiment = setup.experiment

    def step(state: TrainState, batch: dict, seed: jax.Array):
        # The seed is an argument: a constant would make every seed compile anew.
        return make_train_step(
            setup.model,
            experiment.objective,
            setup.transformation,
            setup.curve,
            seed=seed,
            accumulate=experiment.execution.accumulate,
            average=running(experiment.average),
            frozen=setup.frozen,
            products=experiment.optimizer.products,
        )(state, batch)

    train_step = jax.jit(
        setup.on_mesh(step),
        donate_argnums=0,
        out_shardings=(setup.shardings, None),
    )
    sharding = experiment.execution.sharding
    evaluation_step = compile_evaluation(
        setup.model, experiment.objective, sharding, setup.mesh
    )
    shapes = {"train_step": len(setup.order.shapes)}
    functions: dict[str, Callable] = {
        "train_step": train_step,
        "evaluation_step": evaluation_step,
    }
    return Compiled(train_step, evaluation_step, CompileGuard(functions, shapes))


def compile_shapes(setup: Setup, compiled: Compiled) -> None:
    """Compile the training step for every shape of a batch, before one is needed.

    A later call of a shape finds what was compiled here.

    Raises:
        UserError: a step needs more memory than there is.
    """
    state, seed = setup.placed_shapes(), setup.placed_seed()
    for shape in setup.order.shapes:
        step = compiled.step.lower(state, setup.placed_batch(shape), seed).compile()
        check_plan(setup, step.memory_analysis())


def train(
    setup: Setup,
    state: TrainState,
    progress: Progress,
    checkpoints: Checkpoints,
    outputs: Outputs,
    interrupt: Interrupt,
) -> Outcome:
    """Train from a state to the end of the budget, or until interrupted.

    Metrics of a step are read after the next one is dispatched, so that the
    device never waits for the host.

    Raises:
        Diverged: when a loss, gradient or update is not finite.
        UserError: when the disk is full.
    """
    compiled, clock = compile_functions(setup), Clock()
    compile_shapes(setup, compiled)
    seed = setup.placed_seed()
    began = time.perf_counter() - progress.seconds
    scores: dict[str, dict[str, float]] = {}
    pending: tuple[int, dict] | None = None
    first = int(state.step)
    if _out_of_patience(setup, progress, outputs.display):
        first = setup.total
    for done, batch, waited in _feed(setup, first):
        state, metrics = compiled.step(state, batch, seed)
        due = [
            name
            for name, every in setup.every.items()
            if done % every == 0 or done == setup.total
        ]
        stop = interrupt.received is not None
        late, pending = pending, (done, metrics)
        for item in (late, pending if due or stop else None):
            if item is not None and not _record(setup, outputs, progress, clock, item):
                _save_divergence(setup, state, progress, checkpoints, outputs, item[0])
        give_back_memory()
        clock.step(waited)
        if not (due or stop):
            continue
        pending = mean = None
        if due:
            with clock.paused():
                mean = mean_of_checkpoints(setup, state, checkpoints)
                fitted = scored(setup, compiled, state, mean)
                scores |= _evaluate(setup, fitted, progress, outputs, clock, due)
        if setup.experiment.watch in due:
            state = _rescaled(setup, state, progress)
            compiled.guard.check()
        elif not stop:
            continue
        progress.seconds = time.perf_counter() - began
        _save(setup, done, state, progress, checkpoints, mean)
        if stop or _out_of_patience(setup, progress, outputs.display):
            break
    checkpoints.wait()
    if not scores and interrupt.received is None:
        # Ended before, perhaps without having written its result.
        mean = mean_of_checkpoints(setup, state, checkpoints)
        fitted, work = scored(setup, compiled, state, mean), outputs.display.work
        scores = {
            name: evaluation.run(fitted, "validation", work).scores
            for name, evaluation in setup.experiment.evaluations.items()
            if evaluation.watched
        }
    return Outcome(state, progress, clock, scores, interrupt.received)


def _feed(setup: Setup, first: int) -> Iterator[tuple[int, dict, float]]:
    """Batches from a step on: (steps done after it, batch, seconds waited)."""
    part, parts = jax.process_index(), jax.process_count()
    batches = feed(setup.order, first, setup.total, part, parts)
    for done in range(first + 1, setup.total + 1):
        begin = time.perf_counter()
        batch = next(batches)
        waited = time.perf_counter() - begin
        yield done, to_mesh(batch, setup.mesh), waited


def _record(
    setup: Setup,
    outputs: Outputs,
    progress: Progress,
    clock: Clock,
    item: tuple[int, dict],
) -> bool:
    """Read, write and show a step's metrics; false when its numbers aren't finite."""
    step, metrics = item
    values = {name: float(value) for name, value in jax.device_get(metrics).items()}
    finite = bool(values.pop("finite"))
    outputs.write(step, values)
    rate = clock.steps_per_second()
    outputs.display.progress(
        step,
        values["loss"],
        abs(progress.losses[-1]) if progress.validation else None,
        rate and rate * setup.units.tokens,
    )
    return finite


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
        params=params,
        context=setup.data.context,
        step=int(state.step),
    )
    return Scored(loaded, setup.data, setup.mesh, compiled.evaluation)


def _evaluate(
    setup: Setup,
    fitted: Scored,
    progress: Progress,
    outputs: Outputs,
    clock: Clock,
    due: list[str],
) -> dict[str, dict[str, float]]:
    """Make the evaluations that are due, write down and show what they found."""
    step, watch = fitted.step, setup.experiment.watch
    values: dict[str, float] = {}
    found: dict[str, dict[str, float]] = {}
    for name in due:
        evaluation = setup.experiment.evaluations[name]
        made = evaluation.run(fitted, "validation", outputs.display.work)
        found[name] = made.scores
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


def _rescaled(setup: Setup, state: TrainState, progress: Progress) -> TrainState:
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


def _save(
    setup: Setup,
    done: int,
    state: TrainState,
    progress: Progress,
    checkpoints: Checkpoints,
    mean: Any | None = None,
) -> None:
    saved = progress.to_json()
    params, rest = split(setup.to_saved(state))
    if mean is not None:
        params["average"] = mean
    checkpoints.save(done, params, rest, saved, saved["best"])


def _out_of_patience(setup: Setup, progress: Progress, display: Display) -> bool:
    patience = setup.experiment.patience
    if patience is None or progress.waited() < patience:
        return False
    display.message(f"Stopped: no better validation loss in {patience} evaluations.")
    return True


def _save_divergence(
    setup: Setup,
    state: TrainState,
    progress: Progress,
    checkpoints: Checkpoints,
    outputs: Outputs,
    step: int,
) -> None:
    """Save the state before the failing step, its batch and statistics; raise.

    Raises:
        Diverged: always.
    """
    mended = state.replace(finite=jax.device_put(True, setup.shardings.finite))
    _save(setup, int(state.step), mended, progress, checkpoints)
    checkpoints.wait()
    experiment, batch = setup.experiment, setup.order.batch(step - 1)
    gradients = make_gradients(
        setup.model,
        experiment.objective,
        seed=experiment.seed,
        accumulate=experiment.execution.accumulate,
        frozen=setup.frozen,
    )
    gradients = jax.jit(setup.on_mesh(gradients))
    (*_, gradient), _ = gradients(state, to_mesh(batch, setup.mesh))
    folder = outputs.run / f"diverged_at_step_{step}"
    save_blame(folder, step, batch, state.params, gradient)
    raise Diverged(
        f"The loss, gradient or update of step {step} is not finite. The state before "
        f"it is checkpoint {int(state.step)}; the batch and the statistics of each "
        f"parameter are in {folder}. A lower learning rate (--schedule.peak), a "
        "longer warmup or optimizer.clip often helps; where the gradient is finite "
        "there, look at the optimizer's own numbers (--optimizer.b1 and the like)."
    )
