"""The loop: steps, evaluations, samples and checkpoints of one run."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lm_jax.data import feed
from lm_jax.errors import Diverged
from lm_jax.evaluation.whole_split import summed
from lm_jax.generation import generate
from lm_jax.runs.display import Display
from lm_jax.runs.metrics import MetricsLog, append_sample
from lm_jax.runs.sinks import Sink
from lm_jax.sharding import batch_sharding, batch_ways, to_mesh
from lm_jax.training.checkpoints import Checkpoints
from lm_jax.training.guards import CompileGuard, Interrupt, save_blame
from lm_jax.training.progress import Clock, Progress
from lm_jax.training.setup import Setup
from lm_jax.training.state import TrainState
from lm_jax.training.step import (
    continued,
    make_evaluation_step,
    make_train_step,
    named_key,
    numbered,
)

EVALUATION_TOKENS = 8192
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


@dataclass(frozen=True)
class Compiled:
    """The jitted functions of a run."""

    step: jax.stages.Wrapped
    evaluation: jax.stages.Wrapped
    guard: CompileGuard


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Attributes:
        state, progress, clock: at the end.
        scores: of the last evaluation; empty when interrupted.
        signal: that ended it, or None.
    """

    state: TrainState
    progress: Progress
    clock: Clock
    scores: dict[str, float]
    signal: int | None


def compile_functions(setup: Setup) -> Compiled:
    """Jit the training and evaluation steps; nothing is compiled yet."""
    experiment = setup.experiment
    step = make_train_step(
        setup.model,
        experiment.objective,
        setup.transformation,
        setup.curve,
        seed=experiment.seed,
        accumulate=experiment.accumulate,
        average=experiment.average,
    )
    train_step = jax.jit(step, donate_argnums=0, out_shardings=(setup.shardings, None))
    evaluation_step = compile_evaluation(setup)
    shapes = {"train_step": len(setup.order.shapes)}
    functions: dict[str, Callable] = {
        "train_step": train_step,
        "evaluation_step": evaluation_step,
    }
    return Compiled(train_step, evaluation_step, CompileGuard(functions, shapes))


def compile_shapes(setup: Setup, compiled: Compiled) -> None:
    """Compile the training step for every shape of a batch, before one is needed.

    A later call of a shape finds what was compiled here. Where all batches have one
    shape, the first step compiles it.
    """
    if len(setup.order.shapes) > 1:
        state = setup.placed_shapes()
        for shape in setup.order.shapes:
            compiled.step.lower(state, setup.placed_batch(shape)).compile()


def compile_evaluation(setup: Setup) -> jax.stages.Wrapped:
    """Jit the evaluation step; nothing is compiled yet."""
    step = make_evaluation_step(setup.model, setup.experiment.objective)
    return jax.jit(step, out_shardings=(None, batch_sharding(setup.mesh)))


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
        Diverged: when a loss or gradient is not finite.
        UserError: when the disk is full.
    """
    compiled, clock = compile_functions(setup), Clock()
    compile_shapes(setup, compiled)
    began = time.perf_counter() - progress.seconds
    scores: dict[str, float] = {}
    pending: tuple[int, dict] | None = None
    first = int(state.step)
    if _out_of_patience(setup, progress, outputs.display):
        first = setup.total
    for done, batch, waited in _feed(setup, first):
        state, metrics = compiled.step(state, batch)
        due = done % setup.every == 0 or done == setup.total
        stop = interrupt.received is not None
        late, pending = pending, (done, metrics)
        for item in (late, pending if due or stop else None):
            if item is not None and not _record(setup, outputs, progress, clock, item):
                _save_divergence(setup, state, progress, checkpoints, outputs, item[0])
        clock.step(waited)
        if not (due or stop):
            continue
        pending = None
        if due:
            with clock.paused():
                scores = _evaluate(setup, compiled, state, progress, outputs, clock)
                state = _rescaled(setup, state, progress)
            compiled.guard.check()
        progress.seconds = time.perf_counter() - began
        _save(done, state, progress, checkpoints)
        if stop or _out_of_patience(setup, progress, outputs.display):
            break
    checkpoints.wait()
    if not scores and interrupt.received is None:
        # Ended before, perhaps without having written its result.
        scores = _scores(setup, compiled, state, outputs)
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
    """Read, write and show a step's metrics; false when they aren't finite."""
    step, metrics = item
    values = {name: float(value) for name, value in jax.device_get(metrics).items()}
    outputs.write(step, values)
    rate = clock.steps_per_second()
    outputs.display.progress(
        step,
        values["loss"],
        progress.losses[-1] if progress.validation else None,
        rate and rate * setup.units.tokens,
    )
    return math.isfinite(values["loss"]) and math.isfinite(values["grad_norm"])


def _scores(
    setup: Setup, compiled: Compiled, state: TrainState, outputs: Outputs
) -> dict[str, float]:
    params, work = state.evaluated, outputs.display.work
    return evaluate(setup, compiled.evaluation, params, "validation", work)


def _evaluate(
    setup: Setup,
    compiled: Compiled,
    state: TrainState,
    progress: Progress,
    outputs: Outputs,
    clock: Clock,
) -> dict[str, float]:
    """Score the validation split, draw a sample, and write both down."""
    step = int(state.step)
    scores = _scores(setup, compiled, state, outputs)
    values = {f"validation_{name}": value for name, value in scores.items()}
    rate = clock.steps_per_second()
    if rate:
        values |= {
            "tokens_per_second": rate * setup.units.tokens,
            "data_wait": clock.data_wait(),
        }
    outputs.write(step, values)
    progress.validation.append((step, scores["loss"]))
    shown = {f"validation_{name}": scores[name] for name in SHOWN if name in scores}
    best = progress.best is not None and progress.best[0] == step
    outputs.display.evaluation(step, shown, best)
    text = sample(setup, state.evaluated)
    if text:
        append_sample(outputs.run / "samples.txt", step, text)
        outputs.display.sample(step, text)
    return scores


def evaluate(
    setup: Setup,
    evaluation_step: Callable[[Any, dict, Any], tuple[dict, Any]],
    params: Any,
    split: str,
    progress: Callable[[str, int, int], None] | None = None,
    empty: Callable[[int], Any] | None = None,
) -> dict[str, float]:
    """Score a whole split with some parameters, as the objective says.

    Args:
        setup, params: what is scored.
        evaluation_step: how.
        split: which.
        progress: told (description, done, total).
        empty: of a number of rows, the carry before the first batch where
            batches continue each other; the model's own if None.
    """
    ways, lanes = batch_ways(setup.mesh), setup.data.lanes
    size = max(setup.rows, EVALUATION_TOKENS // setup.data.context)
    size = -(-(lanes or size) // ways) * ways
    windows = setup.data.evaluation(split, size)
    empty = empty or (lambda rows: setup.model.empty_cache(rows, 0))
    carry = to_mesh(empty(size), setup.mesh) if lanes else None
    sums = summed(evaluation_step, params, windows, setup.mesh, carry, progress)
    return setup.experiment.objective.scores(sums, setup.data.splits[split].spelled)


def sample(setup: Setup, params: Any) -> str:
    """Continue the experiment's prompt; empty when it asks for no sample."""
    wanted = setup.experiment.sample
    if not wanted.length or not setup.experiment.objective.generates:
        return ""
    tokenizer = setup.data.tokenizer
    prompt = tokenizer.encode(wanted.prompt)
    new = generate(
        setup.model,
        params,
        [prompt],
        wanted.length,
        setup.data.context,
        wanted.sampling,
        setup.experiment.seed,
    )
    return tokenizer.decode(np.concatenate([prompt, new[0]]))


def _rescaled(setup: Setup, state: TrainState, progress: Progress) -> TrainState:
    """Let the schedule and the average answer to the evaluations so far."""
    scale = setup.experiment.schedule.scale(progress.losses)
    state = state.replace(
        scale=jax.device_put(np.float32(scale), setup.shardings.scale)
    )
    after = setup.experiment.average_after
    if after is not None and not int(state.averaged) and stuck(progress.losses, after):
        # The weights as they are now are the first of the average.
        one = jax.device_put(np.int32(1), setup.shardings.averaged)
        state = state.replace(averaged=one)
    return state


def stuck(losses: list[float], after: int) -> bool:
    """Whether the last loss is above the best of those before the last ``after``.

    The trigger of NT-ASGD (Merity et al. 2018, algorithm 1).
    """
    earlier = losses[: -after - 1]
    return bool(earlier) and losses[-1] > min(earlier)


def _save(
    done: int, state: TrainState, progress: Progress, checkpoints: Checkpoints
) -> None:
    best = progress.best[0] if progress.best else None
    checkpoints.save(done, state, dataclasses.asdict(progress), best)


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
    batch = setup.order.batch(step - 1)
    objective, model = setup.experiment.objective, setup.model
    root = named_key(setup.experiment.seed, "dropout")
    key = jax.random.fold_in(root, state.step)
    placed = numbered(to_mesh(batch, setup.mesh))
    carry = continued(state.carry, placed)

    def loss(params):
        return objective(model, params, placed, key, carry).loss

    gradient = jax.jit(jax.grad(loss))(state.params)
    folder = outputs.run / f"diverged_at_step_{step}"
    save_blame(folder, step, batch, state.params, gradient)
    mended = state.replace(finite=jax.device_put(True, setup.shardings.finite))
    _save(int(state.step), mended, progress, checkpoints)
    checkpoints.wait()
    raise Diverged(
        f"The loss or gradient of step {step} is not finite. The state before it is "
        f"checkpoint {int(state.step)}; the batch and the statistics of each "
        f"parameter are in {folder}. A lower learning rate (--schedule.peak), a "
        "longer warmup or optimizer.clip often helps."
    )
