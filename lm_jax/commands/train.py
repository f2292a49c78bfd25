"""Train the model of an experiment file."""

import os
import shlex
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax

from lm_jax.commands.help import fields_help
from lm_jax.distributed import writes
from lm_jax.errors import UserError, nearest
from lm_jax.evaluation import Sample
from lm_jax.experiment import (
    AnyExperiment,
    CountExperiment,
    Experiment,
    Named,
    Published,
    load,
)
from lm_jax.experiment.overrides import override
from lm_jax.files import given_path, near
from lm_jax.platform import called
from lm_jax.runs.checkpoints import has_checkpoint
from lm_jax.runs.directory import find_run
from lm_jax.runs.display import Display
from lm_jax.runs.result import find_scores, read_result
from lm_jax.runs.sinks import check_sinks
from lm_jax.scaling.jobs import JOBS
from lm_jax.scaling.launching import described, launch
from lm_jax.scaling.place import FLAGS, Place, place_of
from lm_jax.scaling.pods import of_metadata
from lm_jax.scaling.taking_part import taking_part
from lm_jax.training.counting import count_run
from lm_jax.training.loop import Outcome
from lm_jax.training.profiling import Profile
from lm_jax.training.resolved import Setup
from lm_jax.training.run import train_run
from lm_jax.training.setup import set_up
from lm_jax.training.spent import told

_STEPS = "the first and the last step to trace, FIRST:LAST,"
USAGE = """\
usage: ./launch.sh train FILE[:VARIANT] [--run DIRECTORY] [--from RUN]
                         [--processes N] [--profile FIRST:LAST]
                         [--FIELD VALUE ...]

Trains the experiment of a file, or one of its variants. Any field can be
changed by its dotted name; a run that was started before goes on. With --from,
a new run begins with the parameters of another: those of the same path and
shape, and what --initial.renamed, .resized, .new and .dropped name.

  ./launch.sh train experiments/gpt_shakespeare.py
  ./launch.sh train experiments/gpt_shakespeare.py:rotary --seed 1
  ./launch.sh train experiments/gpt_shakespeare.py --model.layers 6 \\
      --run runs/deeper
  ./launch.sh train experiments/gpt_shakespeare.py --from \\
      runs/gpt_shakespeare/base/seed0 --run runs/further
  ./launch.sh train experiments/gpt_shakespeare.py --processes 2
  ./launch.sh train experiments/gpt_shakespeare.py --help    (all fields)

With --processes N, so many processes of this machine train one run together;
all but the first write what they say into process_K.log of the run. On several
machines each process is told its place; SLURM (srun), torchrun and TPU pods
tell it by themselves, and what is said here wins:

  --processes N             how many there are
  --process K               which of them this is, from 0
  --coordinator HOST:PORT   where process 0 waits for the others
  --timeout SECONDS         that any wait may take, a step too; 600 if not given
  --dry-run                 print what would be run, and run nothing
  --on slurm|tpu|kubernetes with --dry-run: a text that starts it there

--profile FIRST:LAST traces these steps, as in --profile 10:13, for XProf and
Perfetto: the trace lies in the run, and what shows it is said. It waits for the
device before the first and after the last of them."""


class Resolved(NamedTuple):
    """What a command line asks for.

    Attributes:
        named: the experiment.
        run: the directory that was given for it.
        dropped: what to say of prompts that another text leaves out.
    """

    named: Named
    run: Path | None
    dropped: list[str]


def resolve(args: list[str], command: str) -> Resolved:
    """Read FILE[:VARIANT], --run, --from and overrides from the command line.

    Raises:
        UserError: for a name or value that doesn't fit.
        SystemExit: 0 after ``--help``.
    """
    address, rest = args[0], args[1:]
    run = None
    if command == "train":
        run, rest = _taken_path("--run", rest)
    source, rest = _taken_path("--from", rest)
    named = load(address)
    if source is not None:
        # A run that goes on does without what it began with.
        source = find_run(source) if source.exists() else source
        rest = ["--initial", "FromRun", f"--initial.run={source}", *rest]
    asked = {"-h", "--help"} & set(rest)
    rest = [arg for arg in rest if arg not in asked]
    own = {"train": ["run", "profile"], "plan": ["topology", "mesh"]}
    others = (*own.get(command, []), "from")
    program = f"{called()} {command} {address}"
    changed = override(named.experiment, rest, program, others)
    dropped = _dropped(named.experiment, changed, rest)
    named = replace(named, experiment=changed)
    if asked:
        print(fields_help(named, address, command))
        raise SystemExit(0)
    return Resolved(named, run, dropped)


def _dropped(before: Any, after: Any, args: list[str]) -> list[str]:
    """Name the prompts that another text leaves out, but for those typed so."""
    found = []
    for name, evaluation in after.evaluations.items():
        known = before.evaluations.get(name)
        if not isinstance(evaluation, Sample) or not isinstance(known, Sample):
            continue
        flag = f"--evaluations.{name}.prompt"
        typed = any(arg.startswith(flag) for arg in args)
        if typed or not known.prompt or evaluation.prompt == known.prompt:
            continue
        found.append(
            f"{flag} {shlex.quote(known.prompt)} belongs to the text that was there "
            "before, and is left out: samples begin as the new text does."
        )
    return found


def _taken_path(flag: str, args: list[str]) -> tuple[Path | None, list[str]]:
    """Take a flag and the directory after it out of arguments."""
    given, rest = taken(flag, args, "a directory")
    return None if given is None else given_path(given, flag), rest


def taken(flag: str, args: list[str], what: str) -> tuple[str | None, list[str]]:
    """Take a flag and the word after it, or after its "=", out of arguments.

    Raises:
        UserError: there is no such word; ``what`` it should be.
    """
    for index, arg in enumerate(args):
        name, equals, value = arg.partition("=")
        if name != flag:
            continue
        after = index + 1 if equals else index + 2
        given = [value] if equals else args[index + 1 : after]
        if not given or (not equals and given[0].startswith("--")):
            raise UserError(f"{flag} needs {what} after it.")
        return given[0], args[:index] + args[after:]
    return None, args


def main(args: list[str]) -> int:
    """Run the command."""
    if not args or args[0] in ("-h", "--help"):
        print(USAGE.replace("./launch.sh", called()))
        return 0 if args else 2
    said, args = _said(args)
    machines, args = taken("--on", args, f"one of {', '.join(JOBS)}")
    dry, args = "--dry-run" in args, [arg for arg in args if arg != "--dry-run"]
    place = place_of(said, {**of_metadata(os.environ), **os.environ})
    if dry or machines is not None:
        return _print_launch(place or Place(), args, dry, machines)
    if place is not None and place.process is None:
        return launch(place, ["train", *args], _run_of(args))
    with taking_part(place):
        return _train(args)


def _said(args: list[str]) -> tuple[dict[str, str], list[str]]:
    """What is said of the place of this process, and the other arguments."""
    said: dict[str, str] = {}
    for flag in FLAGS:
        value, args = taken(flag, args, "a value")
        said |= {} if value is None else {flag: value}
    return said, args


def _run_of(args: list[str]) -> Path:
    """The directory of the run that several processes are to train."""
    _, args = taken("--profile", args, _STEPS)
    named, run, _ = resolve(args, "train")
    if not named.experiment.in_steps:
        raise UserError(f"{args[0]} is fitted by one pass that counts, in one process.")
    return run or named.run


def _print_launch(
    place: Place, args: list[str], dry: bool, machines: str | None
) -> int:
    """Print what would be run, here or on machines of others."""
    words, run = ["train", *args], _run_of(args)
    if machines is None:
        print("\n".join(described(place, words, run)))
        return 0
    if machines not in JOBS:
        raise UserError(f"--on {machines} is none of those.{nearest(machines, JOBS)}")
    if not dry:
        raise UserError(
            f"--on {machines} only prints what starts a run: add --dry-run."
        )
    print(JOBS[machines](place, words, run), end="")
    return 0


def _train(args: list[str]) -> int:
    """Train, in this process or as one of several."""
    traced, args = taken("--profile", args, _STEPS)
    named, run, dropped = resolve(args, "train")
    experiment: Any = named.experiment
    run = run or named.run
    profile = Profile(traced, run)
    if not experiment.in_steps:
        if jax.distributed.is_initialized():
            raise UserError(
                f"{args[0]} is fitted by one pass that counts, in one process."
            )
        if traced:
            raise UserError(f"--profile: {args[0]} is fitted by counting, in no steps.")
        _count(experiment, named, run)
        return 0
    check_sinks(experiment.outputs)
    display = Display(0)
    fresh = not has_checkpoint(run)
    setup = set_up(experiment, progress=display.work, fresh=fresh, run=run)
    display.close()
    display = Display(setup.total)
    display.header(
        f"{named.name}, {named.variant}", [*describe(setup), ("run", str(run))]
    )
    for said in dropped:
        display.message(said)
    if setup.start is not None:
        display.header("parameters", setup.start.table)
    outcome = train_run(experiment, run, setup, display, profile=profile)
    if outcome.signal is not None:
        print(f"Stopped and saved at step {int(outcome.state.step)}. To go on:")
        print(f"  {called()} train {shlex.join(args)}")
        return 130 if outcome.signal == signal.SIGINT else 0
    _conclude(experiment, run, setup, outcome)
    return 0


def _count(experiment: CountExperiment, named: Named, run: Path) -> None:
    """Fit a model that counts, and say what came out."""
    display = Display(0)

    def begin(counted: Any) -> None:
        rows = [
            ("data", counted.data.statement),
            ("model", counted.loaded.fitted.statement),
            ("run", str(run)),
        ]
        display.close()
        display.header(f"{named.name}, {named.variant}", rows)

    counted = count_run(experiment, run, display, begin)
    scores = find_scores(read_result(run), "validation", "end")
    _say_scores(display.message, scores)
    _say_published(display.message, experiment.published)
    _say_next(display.message, run, prompt_of(experiment), counted.writes)


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
            f"{setup.total:,} steps, {setup.total * setup.units.tokens:,} tokens, "
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


def _conclude(
    experiment: Experiment, run: Path, setup: Setup, outcome: Outcome
) -> None:
    """Say what came out, what was published, and what to type next."""
    best = outcome.progress.best
    say = Display(setup.total).message
    _say_scores(say, outcome.found[experiment.watch].scores)
    if best:
        larger = experiment.evaluations[experiment.watch].larger_is_better
        say(f"Best: {-best[1] if larger else best[1]:.4f} at step {best[0]}.")
    if skipped := outcome.progress.skipped:
        what = "loss, gradient or update was not finite"
        say(f"Steps that were skipped because their {what}: {skipped}.")
    _say_published(say, experiment.published)
    # Of several processes one has written it.
    if writes() and "goodput" in (result := read_result(run)):
        say(told(result))
    prompt = prompt_of(experiment)
    if prompt is None and "source" in experiment.objective.reads:
        prompt = "TEXT"
    _say_next(say, run, prompt, experiment.objective.generates)
    if experiment.objective.learns_vectors:
        say(f"  {called()} vectors {shlex.quote(str(run))} --out vectors.txt")
    say(f"  {_beside_python('tensorboard')} --logdir {shlex.quote(str(run))}")


def prompt_of(experiment: AnyExperiment) -> str | None:
    """The prompt of an experiment's first sample; None where it has none."""
    samples = [e for e in experiment.evaluations.values() if isinstance(e, Sample)]
    return (samples or [Sample()])[0].prompt


def _say_scores(say: Callable[[str], None], scores: dict[str, float]) -> None:
    others = ", ".join(
        f"{name.replace('_', ' ')} {value:.4f}"
        for name, value in scores.items()
        if name not in ("loss", "tokens")
    )
    over = f" ({scores['tokens']:,} tokens)" if "tokens" in scores else ""
    more = f": {others}" if others else ""
    if "loss" in scores:
        say(f"Validation loss {scores['loss']:.4f} over the whole split{over}{more}.")
    else:
        say(f"Validation, the whole split{over}{more}.")


def _say_published(say: Callable[[str], None], published: Published | None) -> None:
    if published:
        score = published.score.replace("_", " ")
        say(
            f"Published: {published.split} {score} {published.value} "
            f"({published.source})."
        )


def _say_next(
    say: Callable[[str], None], run: Path, prompt: str | None, generates: bool = True
) -> None:
    say(f"The run is in {run}: result.json and what led to it.")
    say("Next:")
    place = shlex.quote(str(run))
    if generates:
        begun = "" if prompt is None else f" --prompt {shlex.quote(prompt)}"
        say(f"  {called()} generate {place}{begun}")
    say(f"  {called()} evaluate {place}")


def _beside_python(program: str) -> str:
    """How to call a program that was installed with this Python."""
    return shlex.quote(str(near(Path(sys.executable).with_name(program))))
