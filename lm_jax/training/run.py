"""Start a run, go on with it, or read it back."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lm_jax.data import Prepared
from lm_jax.errors import UserError
from lm_jax.evaluation.neural_cache import (
    CacheCarry,
    NeuralCache,
    empty_cache_carry,
    make_cache_step,
)
from lm_jax.experiment import Experiment, to_json
from lm_jax.generation import Sampling, generate
from lm_jax.runs.claim import check_data, claim
from lm_jax.runs.directory import open_run
from lm_jax.runs.display import Display
from lm_jax.runs.environment import record_environment
from lm_jax.runs.metrics import MetricsLog, truncate_samples
from lm_jax.runs.picture import draw_run
from lm_jax.runs.result import about, write_result
from lm_jax.runs.sinks import open_sinks
from lm_jax.sharding import Sharding
from lm_jax.training.checkpoints import Checkpoints
from lm_jax.training.guards import Interrupt
from lm_jax.training.loop import (
    Outcome,
    Outputs,
    compile_evaluation,
    evaluate,
    train,
)
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
        claim(experiment, setup.data, run)
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


def _start(
    setup: Setup, checkpoints: Checkpoints, display: Display
) -> tuple[TrainState, Progress]:
    """The first state, or the last one saved."""
    steps = checkpoints.steps()
    if not steps:
        return setup.first_state(), Progress()
    like = setup.placed_shapes()
    state, saved = checkpoints.restore(steps[-1], like)
    display.message(f"Going on from the checkpoint of step {steps[-1]}.")
    return state, Progress.from_json(saved)


def finish(setup: Setup, run: Path, outcome: Outcome) -> None:
    """Write result.json and curve.png of a run that reached its end."""
    steps = int(outcome.state.step)
    best = outcome.progress.best
    rate = outcome.clock.steps_per_second() or 0.0
    result = about(setup.experiment, setup.model) | {
        "steps": steps,
        "tokens": steps * setup.units.tokens,
        "parameters": setup.parameters,
        "validation": outcome.scores,
        "best": {"step": best[0], "loss": best[1]} if best else None,
        "seconds": outcome.progress.seconds,
        "tokens_per_second": rate * setup.units.tokens,
        "data_wait": outcome.clock.data_wait(),
        "devices": setup.mesh.size,
        "platform": jax.devices()[0].platform,
    }
    write_result(run, result)
    published = setup.experiment.published
    reference = None
    if published and (published.split, published.score) == ("validation", "loss"):
        reference = (published.source, published.value)
    draw_run(run, run / "curve.png", reference)


@dataclass(frozen=True)
class Trained:
    """A trained model, on the devices that are here now.

    Attributes:
        setup: of its experiment.
        params: to evaluate.
        step: that they are of.
    """

    setup: Setup
    params: Any
    step: int

    @property
    def data(self) -> Prepared:
        """The corpus that it was trained on."""
        return self.setup.data

    @property
    def policy(self) -> str:
        """What the model sees before a token that it is scored on."""
        lanes, context = self.setup.data.lanes, self.setup.data.context
        if lanes:
            return f"all tokens before, in {lanes} lanes read side by side"
        if self.setup.data.buckets is not None:
            return f"the text, up to {context} tokens"
        return f"disjoint windows of {context} tokens"

    def score(
        self, split: str, progress: Callable[[str, int, int], None] | None = None
    ) -> dict[str, float]:
        """Score a whole split, as the objective says."""
        return evaluate(
            self.setup, compile_evaluation(self.setup), self.params, split, progress
        )

    def score_with_cache(
        self,
        split: str,
        cache: NeuralCache,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> dict[str, float]:
        """Score a whole split with a cache of the words before.

        Raises:
            UserError: when the batches of an evaluation don't continue each other.
        """
        if not self.setup.data.lanes:
            raise UserError(
                "A cache remembers what was read before, and this run's data is "
                "read in windows apart from each other. Train on a CarriedStream."
            )
        setup, model = self.setup, self.setup.model
        step = jax.jit(make_cache_step(model, cache))

        def empty(rows: int) -> CacheCarry:
            return empty_cache_carry(model, self.params, cache, rows)

        return evaluate(setup, step, self.params, split, progress, empty)

    def generate(
        self, prompts: list[np.ndarray], length: int, sampling: Sampling, seed: int
    ) -> np.ndarray:
        """Continue prompts of (tokens,): new tokens (batch, length).

        Raises:
            UserError: when the model writes no text.
        """
        check_writes(self.setup.experiment)
        context = self.setup.data.context
        return generate(
            self.setup.model, self.params, prompts, length, context, sampling, seed
        )


def check_writes(experiment: Experiment) -> None:
    """Refuse an experiment whose model doesn't continue text.

    Raises:
        UserError: when its objective isn't one of writing.
    """
    objective = experiment.objective
    if not objective.generates:
        raise UserError(
            f"This model was trained by {type(objective).__name__}, which doesn't "
            "continue text. `evaluate` scores it."
        )


def _set_up_here(experiment: Experiment) -> Setup:
    """Set up to read a run: on its own mesh if the devices allow it, else on one.

    What was saved is read onto any mesh, and needs no initial vectors.
    """
    experiment, devices = replace(experiment, initial=None), jax.devices()
    try:
        return set_up(experiment, devices)
    except UserError:
        return set_up(replace(experiment, sharding=Sharding()), devices[:1])


def load_run(experiment: Experiment, run: Path, step: int | None = None) -> Trained:
    """Read a trained model back, onto the devices that are here now.

    Args:
        experiment: of the run.
        run: its directory.
        step: of the checkpoint; None takes the best one.

    Raises:
        UserError: when there is no such checkpoint, it can't be read, or the
            text is another now.
    """
    setup = _set_up_here(experiment)
    check_data(setup.data, run)
    checkpoints = Checkpoints(run / "checkpoints", experiment.keep)
    steps = checkpoints.steps()
    if not steps:
        raise UserError(f"{run} has no checkpoint yet.")
    if step is not None and step not in steps:
        raise UserError(f"{run} has checkpoints of steps {steps}, none of {step}.")
    like = setup.placed_shapes()
    state, saved = checkpoints.restore(step or steps[-1], like)
    if step is None:
        best = Progress.from_json(saved).best
        if best and best[0] in steps and best[0] != steps[-1]:
            state, _ = checkpoints.restore(best[0], like)
    return Trained(setup, state.evaluated, int(state.step))
