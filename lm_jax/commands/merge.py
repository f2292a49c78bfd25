"""Adapters and their base become a run that stands alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lm_jax.commands.options import read_options
from lm_jax.platform import called
from lm_jax.runs.directory import find_run
from lm_jax.runs.display import Display
from lm_jax.runs.merging import merge_runs


@dataclass(frozen=True)
class Options:
    """Write a run that needs no other: the base's parameters with what adapters add.

    Of several runs over one base, each adds by its weight what it has learnt (task
    arithmetic: Ilharco et al. 2023):

        ./launch.sh merge runs/poems --run runs/poems_alone
        ./launch.sh merge runs/poems runs/laws --weights 0.7 0.3 --run runs/both

    The new run has the parameters alone, and is read as the first one is: by
    `generate`, `evaluate`, `export`, `quantize` and `train ... --from`.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Runs that were trained with an adapter."""
    run: Path
    """A new directory."""
    weights: tuple[float, ...] = ()
    """Of what each run adds; equal, and one in all, if not given."""
    step: int | None = None
    """Checkpoint to take of each; the best one if not given."""


def main(args: list[str]) -> None:
    """Run the command."""
    options = read_options(Options, "merge", args)
    runs = [find_run(run) for run in options.runs]
    made = merge_runs(runs, options.run, options.weights, options.step)
    rows = [("of", ", ".join(map(str, runs))), ("step", str(made.step))]
    display = Display(0)
    display.header(str(options.run), rows)
    display.message(f"Next: {called()} evaluate {options.run}")
