"""A cell of a sweep as a job of its own: what a task of a cluster does.

python -m lm_jax.sweeping.task FOLDER NUMBER

FOLDER holds a plan, and NUMBER counts its cells from 0. It ends with 0 where the cell
has ended, or another process trains it; with 1 where it failed, and failed.log of the
run says why; with STOPPED where it was stopped, has saved, and is to be begun again.
"""

import os
import socket
import sys
import time
from functools import partial
from pathlib import Path

from lm_jax.ablation.plan_file import read_plan
from lm_jax.ablation.states import state_of
from lm_jax.ablation.tune import THROUGH, trial_state
from lm_jax.errors import UserError
from lm_jax.platform import configure
from lm_jax.runs.code import own_code
from lm_jax.runs.directory import in_use
from lm_jax.runs.display import Display
from lm_jax.runs.trials import PLAN
from lm_jax.scaling.needs import STOPPED
from lm_jax.sweeping.cells import attempt, keep_log, run_cell
from lm_jax.sweeping.worker import handed_over
from lm_jax.training.guards import Interrupt

# Seconds for another process to leave a cell: one that is stopped may still save when
# the task that is to go on has begun.
_WAIT = 300.0
_LOOK = 0.5


def main(args: list[str]) -> int:
    """Train the cell of a number, unless it has ended or is another's."""
    folder, display = Path(args[0]), Display(0)
    with Interrupt() as interrupt:
        configure()
        try:
            name = name_of(folder, int(args[1]))
        except UserError as error:
            display.message(str(error))
            return 1
        run = folder / name
        found = attempt(run, partial(_train, folder, name, display, interrupt))
    display.close()
    if found.failed:
        if not found.kept:
            keep_log(run, found.failed)
        display.message(found.failed)
        return 1
    return 0 if found.signal is None else STOPPED


def name_of(folder: Path, number: int) -> str:
    """The name of a cell, as the plan in a folder counts them.

    Raises:
        UserError: there is none of this number, or the plan can't be read.
    """
    names = list(read_plan(folder / PLAN)["cells"])
    if not 0 <= number < len(names):
        raise UserError(f"{folder / PLAN} has {len(names)} cells, and no {number}.")
    return names[number]


def _train(
    folder: Path, name: str, display: Display, interrupt: Interrupt
) -> int | None:
    """Train a cell that nobody has; gives the signal that stopped it, if one did."""
    end = time.monotonic() + _WAIT
    while in_use(folder / name) and time.monotonic() < end and not interrupt.received:
        time.sleep(_LOOK)
    cell = handed_over(folder, name)
    state = trial_state(cell, state_of(cell, own_code()["sources"]))
    if interrupt.received or state.word in (*THROUGH, "running"):
        display.message(f"{cell.title}: {state.word} {state.told}".rstrip())
        return interrupt.received
    display.message(f"{cell.title}, process {os.getpid()} on {socket.gethostname()}")
    return run_cell(cell, display)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
