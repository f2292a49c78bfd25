"""What people are told of a training: what was resolved, and what came out."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import jax

from lm_jax.distributed import writes
from lm_jax.durations import in_steps
from lm_jax.evaluation import Sample
from lm_jax.experiment import AnyExperiment, Experiment, Published
from lm_jax.files import near
from lm_jax.platform import called
from lm_jax.runs.display import Display
from lm_jax.runs.result import read_result
from lm_jax.training.loop import Outcome
from lm_jax.training.resolved import Setup
from lm_jax.training.spent import told

# What the names of scores don't say.
_SCORES = {"spelling_bits_per_byte": "of which the spelling of unknown tokens is"}


def describe(setup: Setup) -> list[tuple[str, str]]:
    """What was resolved, as names and values."""
    experiment = setup.experiment
    parts = experiment.execution.accumulate
    devices = jax.devices()
    shapes = " or ".join(f"{s.rows} x {s.length}" for s in setup.order.shapes)
    average = [("average", str(experiment.average))] if experiment.average else []
    return [
        ("data", setup.data.statement),
        ("model", f"{type(setup.model).__name__}, {_counted(setup)}"),
        (
            "step",
            f"{setup.units.tokens:,} tokens, {shapes}"
            + (f", in {parts} parts" * (parts > 1)),
        ),
        (
            "budget",
            f"{in_steps(setup.total)}, {setup.total * setup.units.tokens:,} tokens, "
            f"{setup.total / setup.units.steps_per_epoch:.2f} epochs, "
            f"{setup.total * setup.units.flops:.2e} FLOPs",
        ),
        *average,
        ("devices", f"{len(devices)} {devices[0].platform} ({mesh_of(setup)})"),
        *pipeline(setup),
    ]


def pipeline(setup: Setup) -> list[tuple[str, str]]:
    """What goes through stages, and how long these stand idle while it does."""
    stages = setup.mesh.shape["stage"]
    if stages == 1:
        return []
    parts = setup.experiment.execution.sharding.microbatches or stages
    idle = (stages - 1) / (parts + stages - 1)
    return [
        (
            "pipeline",
            f"{parts} microbatches through {stages} stages, idle for {idle:.0%} of "
            "the time",
        )
    ]


def _counted(setup: Setup) -> str:
    """How many parameters there are, and how many are trained."""
    if setup.trained == setup.parameters:
        return f"{setup.parameters:,} parameters"
    return f"{setup.parameters:,} parameters, {setup.trained:,} of them trained"


def mesh_of(setup: Setup) -> str:
    """How the devices stand: "2 data x 4 fsdp"."""
    shape = {axis: n for axis, n in setup.mesh.shape.items() if n > 1}
    return " x ".join(f"{n} {axis}" for axis, n in shape.items()) or "one device"


def conclude(experiment: Experiment, run: Path, setup: Setup, outcome: Outcome) -> None:
    """Say what came out, what was published, and what to type next."""
    best = outcome.progress.best
    say = Display(setup.total).message
    say_scores(say, outcome.found[experiment.watch].scores)
    if best:
        larger = experiment.evaluations[experiment.watch].larger_is_better
        say(f"Best: {-best[1] if larger else best[1]:.4f} at step {best[0]}.")
    if skipped := outcome.progress.skipped:
        what = "loss, gradient or update was not finite"
        say(f"Steps that were skipped because their {what}: {skipped}.")
    say_published(say, experiment.published)
    # Of several processes one has written it.
    if writes() and "goodput" in (result := read_result(run)):
        say(told(result))
    prompt = prompt_of(experiment)
    if prompt is None and "source" in experiment.objective.reads:
        prompt = "TEXT"
    say_next(say, run, prompt, experiment.objective.generates, experiment.published)
    if experiment.objective.learns_vectors:
        say(f"  {called()} vectors {shlex.quote(str(run))} --out vectors.txt")
    say(f"  {_beside_python('tensorboard')} --logdir {shlex.quote(str(run))}")


def prompt_of(experiment: AnyExperiment) -> str | None:
    """The prompt of an experiment's first sample; None where it has none."""
    samples = [e for e in experiment.evaluations.values() if isinstance(e, Sample)]
    return (samples or [Sample()])[0].prompt


def say_scores(say: Callable[[str], None], scores: dict[str, float]) -> None:
    """Say what the whole validation split scored."""
    others = ", ".join(
        f"{_SCORES.get(name, name.replace('_', ' '))} {value:.4f}"
        for name, value in scores.items()
        if name not in ("loss", "tokens")
    )
    over = f" ({scores['tokens']:,} tokens)" if "tokens" in scores else ""
    more = f": {others}" if others else ""
    if "loss" in scores:
        say(f"Validation loss {scores['loss']:.4f} over the whole split{over}{more}.")
    else:
        say(f"Validation, the whole split{over}{more}.")


def say_published(say: Callable[[str], None], published: Published | None) -> None:
    """Say the published figure, where there is one."""
    if published:
        score = published.score.replace("_", " ")
        say(
            f"Published: {published.split} {score} {published.value} "
            f"({published.source})."
        )


def say_next(
    say: Callable[[str], None],
    run: Path,
    prompt: str | None,
    generates: bool = True,
    published: Published | None = None,
) -> None:
    """Say where the run lies, and what to type next, on a published split too."""
    say(f"The run is in {run}: result.json and what led to it.")
    say("Next:")
    place = shlex.quote(str(run))
    if generates:
        begun = "" if prompt is None else f" --prompt {shlex.quote(prompt)}"
        say(f"  {called()} generate {place}{begun}")
    split = published.split if published else "validation"
    more = "" if split == "validation" else f" --split {split}"
    say(f"  {called()} evaluate {place}{more}")


def _beside_python(program: str) -> str:
    """How to call a program that was installed with this Python."""
    return shlex.quote(str(near(Path(sys.executable).with_name(program))))
