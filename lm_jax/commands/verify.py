"""Make a stretch of a run again, and say whether it is what it was."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lm_jax.bounds import check_number
from lm_jax.commands.options import read_options
from lm_jax.commands.replay import say
from lm_jax.runs.directory import find_run
from lm_jax.runs.display import Display
from lm_jax.training.replay import verify


@dataclass(frozen=True)
class Options:
    """Make the steps between the last two checkpoints of a run again, and compare.

    All that the run wrote of each step is compared, and at the end every array of
    parameters and optimizer with the last checkpoint; all to the bit. The exit code is
    0 where all is equal, and 1 where something differs.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Directory of the run."""
    steps: int | None = None
    """Make so many at most; all of the stretch if not given."""


def main(args: list[str]) -> int:
    """Run the command."""
    options = read_options(Options, "verify", args)
    if options.steps is not None:
        check_number("--steps", options.steps, "[1, inf)")
    run, aside = find_run(options.run), Display(0, sys.stderr)
    with aside.waiting(f"reading {run}, and compiling"):
        again = verify(run, options.steps, aside.work)
    return say(run, again)
