"""Train one cell of a sweep, in this process."""

import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from lm_jax.ablation.plan import Cell
from lm_jax.ablation.tune import pruner_of
from lm_jax.errors import Diverged, UserError
from lm_jax.experiment import digest
from lm_jax.runs.checkpoints import has_checkpoint
from lm_jax.runs.display import Display
from lm_jax.schedules import Constant
from lm_jax.training.compiled import Compiled
from lm_jax.training.resolved import Setup
from lm_jax.training.run import train_run
from lm_jax.training.setup import set_up

FAILED = "failed.log"
# Runs a cell in its directory, to its end or until a signal, which it gives.
Launch = Callable[[Cell, Display], int | None]


class Warm:
    """What the runs of a variant share in a process: its compiled functions."""

    def __init__(self) -> None:
        # Of each variant the last: what is tuned is compiled for each value.
        self._kept: dict[str, tuple[Any, Compiled]] = {}

    def compiled(self, cell: Cell, setup: Setup) -> Compiled:
        """The functions of a cell, compiled by an earlier one if there was one."""
        # A run that goes on has not read what its first parameters begin with, or
        # but that of its own base.
        about = program_of(cell), setup.start is None, setup.base_digest
        known = self._kept.get(cell.variant)
        if known is None or known[0] != about:
            known = self._kept[cell.variant] = about, Compiled(setup)
        return known[1]


def program_of(cell: Cell) -> str:
    """Name what is compiled for a cell: whatever its seed.

    Where several runs are computed together, the schedule is an argument too.
    """
    if cell.experiment.execution.together == 1:
        return digest(cell.experiment)
    return digest(replace(cell.experiment, schedule=Constant(1.0)))


def run_cell(cell: Cell, display: Display, warm: Warm | None = None) -> int | None:
    """Train a cell, from its last checkpoint if it has one.

    It needs nothing but the cell: other launchers call it in other processes.

    Returns:
        The signal that stopped it, if one did.

    Raises:
        UserError: it can't be trained.
        Diverged: a number was not finite.
    """
    fresh = not has_checkpoint(cell.run)
    setup = set_up(cell.experiment, progress=display.work, fresh=fresh, run=cell.run)
    display.expect(setup.total)
    compiled = None if warm is None else warm.compiled(cell, setup)
    prune = pruner_of(cell)
    return train_run(cell.experiment, cell.run, setup, display, compiled, prune).signal


class Tried(NamedTuple):
    """How a cell was left that may have failed.

    Attributes:
        signal: that stopped it, if one did.
        failed: why it came to nothing; "" where it didn't.
        kept: whether the run keeps more about that.
    """

    signal: int | None
    failed: str = ""
    kept: bool = False


def attempt(run: Path, launch: Callable[[], int | None]) -> Tried:
    """Run a cell; what goes wrong in it doesn't take the others with it.

    Args:
        run: its directory.
        launch: runs it, as `Launch` does.
    """
    try:
        return Tried(launch())
    except (UserError, Diverged) as error:
        return Tried(None, str(error))
    except Exception as error:  # a fault of ours
        log = keep_log(run, "".join(traceback.format_exception(error)))
        return Tried(None, f"{type(error).__name__}: {error} ({log})", kept=True)


def keep_log(run: Path, text: str) -> Path:
    """Keep in a run what is known of a fault of ours; gives the file."""
    log = run / FAILED
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(text, "utf-8")
    return log
