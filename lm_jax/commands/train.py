"""Train the model of an experiment file."""

import os
import shlex
import signal
from pathlib import Path
from typing import Any

import jax

from lm_jax.commands.asked import resolve, taken
from lm_jax.commands.told import (
    conclude,
    describe,
    prompt_of,
    say_next,
    say_published,
    say_scores,
)
from lm_jax.errors import UserError, nearest
from lm_jax.experiment import CountExperiment, Named
from lm_jax.platform import called
from lm_jax.runs.checkpoints import has_checkpoint
from lm_jax.runs.display import Display
from lm_jax.runs.result import find_scores, read_result
from lm_jax.runs.sinks import check_sinks
from lm_jax.scaling.jobs import JOBS
from lm_jax.scaling.launching import described, launch
from lm_jax.scaling.needs import Needs
from lm_jax.scaling.place import FLAGS, Place, place_of
from lm_jax.scaling.pods import of_metadata
from lm_jax.scaling.slurm import submit
from lm_jax.scaling.taking_part import taking_part
from lm_jax.training.counting import count_run
from lm_jax.training.profiling import Profile
from lm_jax.training.run import train_run
from lm_jax.training.setup import set_up

_STEPS = "the first and the last step to trace, FIRST:LAST,"
USAGE = """\
usage: ./launch.sh train FILE[:VARIANT] [--run DIRECTORY] [--from RUN]
                         [--processes N] [--profile FIRST:LAST]
                         [--FIELD VALUE ...]

Trains the experiment of a file, or one of its variants. Any field can be
changed by its dotted name; a run that was started before goes on. With --from,
a new run begins with the parameters of another: those of the same path and
shape, and what --initial.renamed, .resized, .new and .dropped name.
A run lies in runs/EXPERIMENT/VARIANT/seedK, or in --run: `compare` pairs runs
by the last part, as in --run runs/deeper/seed0 and runs/deeper/seed1.

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
  --on slurm                submit it as a job of SLURM, one process a machine;
                            --slurm "partition=a100 time=12:00:00" and --gpus N
  --on slurm|tpu|kubernetes with --dry-run: print the text that starts it there;
                            for Kubernetes --image NAME and --tpus v5e:4x4

--profile FIRST:LAST traces these steps, as in --profile 10:13, for XProf and
Perfetto: the trace lies in the run, and what shows it is said. It waits for the
device before the first and after the last of them."""


def main(args: list[str]) -> int:
    """Run the command."""
    if not args or args[0] in ("-h", "--help"):
        print(USAGE.replace("./launch.sh", called()))
        return 0 if args else 2
    said, args = _said(args)
    machines, args = taken("--on", args, f"one of {', '.join(JOBS)}")
    dry, args = "--dry-run" in args, [arg for arg in args if arg != "--dry-run"]
    place = place_of(said, {**of_metadata(os.environ), **os.environ})
    if machines is not None:
        return _start_elsewhere(place or Place(), args, dry, machines)
    if dry:
        print("\n".join(described(place or Place(), ["train", *args], _run_of(args))))
        return 0
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


def _start_elsewhere(place: Place, args: list[str], dry: bool, machines: str) -> int:
    """Start a run on machines of others, or print what would."""
    needs, args = _needs(args)
    run = _run_of(args)
    if machines not in JOBS:
        raise UserError(f"--on {machines} is none of those.{nearest(machines, JOBS)}")
    text = JOBS[machines](place, ["train", *args], run, needs)
    if dry:
        print(text, end="")
    elif machines == "slurm":
        print(f"SLURM has {run} as job {submit(text)}.")
    else:
        raise UserError(
            f"--on {machines} only prints what starts a run: add --dry-run."
        )
    return 0


def _needs(args: list[str]) -> tuple[Needs, list[str]]:
    """What is said of the machines, and the other arguments."""
    gpus, args = taken("--gpus", args, "a number")
    slurm, args = taken("--slurm", args, "options of sbatch")
    image, args = taken("--image", args, "a container image")
    tpus, args = taken("--tpus", args, "a slice, such as v5e:4x4")
    if gpus is not None and not gpus.isdigit():
        raise UserError(f"--gpus {gpus}: give a whole number.")
    said = {"gpus": gpus and int(gpus), "slurm": slurm, "image": image, "tpus": tpus}
    given: dict[str, Any] = {k: v for k, v in said.items() if v is not None}
    return Needs(**given), args


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
    conclude(experiment, run, setup, outcome)
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
    say_scores(display.message, scores)
    say_published(display.message, experiment.published)
    say_next(
        display.message,
        run,
        prompt_of(experiment),
        counted.writes,
        experiment.published,
    )
