"""How soon a recipe reaches nanoGPT's loss, beside nanoGPT's own time."""

import io
import statistics
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from lm_jax.ablation.plan import Cell
from lm_jax.bench.compare import Side, Timing, turn
from lm_jax.bounds import check, within
from lm_jax.commands.options import read_options
from lm_jax.errors import UserError
from lm_jax.experiment import Experiment, load
from lm_jax.experiment.loading import load_file, parted
from lm_jax.files import given_path, write_json
from lm_jax.platform import from_extra
from lm_jax.runs.display import Display
from lm_jax.runs.result import find_scores, read_result
from lm_jax.statistics.paired import t_test_of_mean
from lm_jax.sweeping.cells import Warm, run_cell

NANOGPT_STEPS = 2000
_STEPS = 50  # of PyTorch, before each run


@dataclass(frozen=True)
class Options:
    """Train a recipe with many seeds, PyTorch's nanoGPT by turns with it.

    The file's `study` says the target that the mean loss must be better than, and how
    many seeds. Seconds are those of training steps: compiling and the evaluation at
    the end are told apart. nanoGPT's are 2,000 steps of its CPU recipe, in float32 and
    not compiled, at the pace of 50 steps before each run. Close other programs first.
    """

    file: Annotated[str, tyro.conf.Positional] = "experiments/speedrun_shakespeare.py"
    """Experiment file, or FILE.py:VARIANT."""
    seeds: int | None = within("[2, 100]", None)
    """Those of the study if not given."""
    out: Path = Path("runs/speedrun")
    """Folder of the runs, which must be new: what ended before has its own hour."""
    write: Path | None = None
    """Write the figures here as JSON too."""


def main(args: list[str]) -> None:
    """Run the command.

    Raises:
        UserError: the file has no target; the folder is there; no PyTorch.
    """
    options = read_options(Options, "bench speedrun", args)
    check(options, "bench speedrun")
    file, out = parted(options.file)[0], given_path(options.out, "--out")
    study = load_file(file).study
    if getattr(study, "target", None) is None:
        raise UserError(f"{options.file} says no target: study = Study(target=1.9).")
    if out.exists():
        raise UserError(f"{out} is there: times of another hour don't compare (--out).")
    experiment = load(options.file).experiment
    assert isinstance(experiment, Experiment)
    runs, steps = _by_turns(experiment, options.seeds or study.seeds, out)
    losses = np.array([run["loss"] for run in runs])
    seconds = statistics.median(run["seconds"] for run in runs)
    theirs = NANOGPT_STEPS * statistics.median(steps)
    p = t_test_of_mean(losses, study.target, larger=False)
    print(
        f"loss {losses.mean():.4f}, deviation {losses.std(ddof=1):.4f}, of "
        f"{len(runs)} seeds; better than {study.target:g}: p {p:.2g}\n"
        f"seconds of training {seconds:.1f} (median), {_range(runs)}\n"
        f"start, compiling and evaluation {_around(runs):.1f} (the first)\n"
        f"nanoGPT's own {theirs:.1f}, at {1000 * statistics.median(steps):.1f} ms a "
        f"step: {theirs / seconds:.1f} times as long"
    )
    if options.write is not None:
        found = {"runs": runs, "nanogpt_steps": steps, "p": p, "nanogpt": theirs}
        write_json(options.write, found | {"target": study.target})


def _by_turns(
    experiment: Experiment, seeds: int, out: Path
) -> tuple[list[dict], list[float]]:
    """Losses and seconds of each seed, and seconds of PyTorch's steps.

    Raises:
        UserError: there is no PyTorch.
    """
    side, timing = _nanogpt()
    warm, display, runs = Warm(), Display(0), []
    try:
        for seed in range(seeds):
            turn(side, timing)
            place = out / f"seed{seed}"
            cell = Cell("base", seed, place, replace(experiment, seed=seed))
            display.work("training by turns", seed, seeds)
            run_cell(cell, Display(0, io.StringIO()), warm)
            runs.append(_found(place))
    finally:
        display.close()
        side.close()
    return runs, timing.seconds


def _nanogpt() -> tuple[Side, Timing]:
    """PyTorch's side, warm.

    Raises:
        UserError: it isn't installed.
    """
    if find_spec("torch") is None:
        raise UserError(f"This needs PyTorch: {from_extra('bench')}")
    side = Side("PyTorch", "torch")
    side.ask("prepare", size="0.8M")
    timing = Timing("0.8M", "PyTorch", "float32", _STEPS)
    turn(side, timing)
    timing.seconds.clear()
    return side, timing


def _found(run: Path) -> dict[str, float]:
    """The loss of a run at its end, its seconds of steps, and those of all."""
    result = read_result(run)
    return {
        "loss": find_scores(result, "validation", "end")["loss"],
        "seconds": result["tokens"] / result["tokens_per_second"],
        "all": result["seconds"],
    }


def _range(runs: list[dict[str, float]]) -> str:
    seconds = [run["seconds"] for run in runs]
    return f"{min(seconds):.1f} to {max(seconds):.1f}"


def _around(runs: list[dict[str, float]]) -> float:
    """What is not training: of the first run, which compiles for the others."""
    return runs[0]["all"] - runs[0]["seconds"]
