"""Make a step of a run again, and say whether it is what it was."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lm_jax.commands.options import read_options
from lm_jax.errors import UserError
from lm_jax.runs.code import changed_code
from lm_jax.runs.directory import find_run
from lm_jax.runs.display import Display
from lm_jax.runs.environment import changed_environment
from lm_jax.runs.ledger import NAMES, told
from lm_jax.training.blame import STATISTICS
from lm_jax.training.replay import Again, replay, replay_kept


@dataclass(frozen=True)
class Options:
    """Make a step of a run again from the nearest checkpoint before it, and compare.

    Of a folder in a run that was saved for a step that went wrong, the step is made
    again on the batch that was kept there.

    Each step on the way is compared with what the run wrote of it: batch, loss,
    gradient's norm and, where there is a checkpoint, parameters; all to the bit. On a
    GPU, whose sums have no fixed order, rounding alone differs. The exit code is 0
    where all is equal, and 1 where something differs.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Directory of the run, or of a step that was saved in it."""
    step: int | None = None
    """Which step of the run, from 1."""


def main(args: list[str]) -> int:
    """Run the command."""
    options = read_options(Options, "replay", args)
    run, aside = find_run(options.run), Display(0, sys.stderr)
    kept = (options.run / STATISTICS).exists()
    if options.step is None and not kept:
        raise UserError(f"Which step? Give one, as in: replay {options.run} --step 7")
    with aside.waiting(f"reading {run}, and compiling"):
        if kept:
            again = replay_kept(options.run, aside.work)
        else:
            again = replay(run, int(options.step or 0), aside.work)
    return say(run, again)


def say(run: Path, again: Again) -> int:
    """Print how steps came out that were made again.

    Returns:
        The exit code: 0 where they are equal.
    """
    display = Display(0)
    begun = f"checkpoint {again.start}" if again.start else "the beginning"
    rows = [("from", begun)]
    rows += [
        (NAMES[name].removeprefix("the "), told(name, value))
        for name, value in again.row.items()
    ]
    display.header(f"{run}, step {again.step}", rows)
    remarks = [again.remark, changed_code(run), *changed_environment(run)]
    for said in filter(None, remarks):
        display.message(said)
    if again.difference:
        display.message(again.difference)
        return 1
    compared = ", ".join(NAMES[name] for name in NAMES if name in again.compared)
    steps = f"steps {again.start + 1} to {again.step}"
    if again.start + 1 == again.step:
        steps = f"step {again.step}"
    display.message(f"Equal to the bit, {steps}: {compared}.")
    return 0
