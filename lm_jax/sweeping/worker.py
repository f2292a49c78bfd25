"""What a sweep does side by side: a process that trains one cell after another.

python -m lm_jax.sweeping.worker FOLDER [CORE...]

FOLDER holds a plan. Each line of standard input names a cell, such as "rotary/seed3";
at its end the worker saves and stops. On standard output it writes, one JSON object a
line, what a `Display` is told, and then how the cell was left. CORE are those that it
computes on; all that it may use, if none is given.
"""

import json
import os
import queue
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lm_jax.ablation.plan import Cell
from lm_jax.ablation.plan_file import read_plan
from lm_jax.errors import UserError
from lm_jax.experiment import Experiment, read, save
from lm_jax.files import atomic_write, writing
from lm_jax.platform import configure
from lm_jax.processes import end_with_parent
from lm_jax.runs.code import own_code
from lm_jax.runs.display import Display
from lm_jax.runs.trials import PLAN, trial_number
from lm_jax.sweeping.cells import Warm, attempt, run_cell
from lm_jax.training.guards import Interrupt

LEFT = "left"
Tell = Callable[[dict[str, Any]], None]


def hand_over(cell: Cell) -> str:
    """Leave a cell's recipe in its directory, for another process to train it.

    Returns:
        Its name, in the folder of its plan.

    Raises:
        UserError: what stands there can't be read, and is not written over.
    """
    if (cell.run / "experiment.json").exists():
        read(cell.run)
    with writing(cell.run):
        cell.run.mkdir(parents=True, exist_ok=True)
    for name, content in save(cell.experiment).items():
        atomic_write(cell.run / name, content)
    return cell.name


def handed_over(folder: Path, name: str) -> Cell:
    """The cell that `hand_over` gave a name.

    Raises:
        UserError: the plan has none of this name, or was made by other code.
    """
    planned, here = read_plan(folder / PLAN), own_code()["sources"]
    if name not in planned["cells"]:
        raise UserError(f"{folder / PLAN} has no cell '{name}'.")
    if planned["code"]["sources"] != here:
        raise UserError(
            f"The code of lm_jax has changed since the sweep began: "
            f"{planned['code']['sources']} there, {here} now."
        )
    experiment = read(folder / name)
    assert isinstance(experiment, Experiment)
    variant, _, last = name.rpartition("/")
    return Cell(
        variant,
        experiment.seed,
        folder / name,
        experiment,
        trial=trial_number(last),
        halved=planned["study"].get("search") == "halving",
    )


class Told(Display):
    """What a person would see, told to another process.

    Args:
        tell: the other process.
    """

    def __init__(self, tell: Tell):
        super().__init__(0)
        self._tell, self._last = tell, 0.0

    @contextmanager
    def waiting(self, description: str) -> Iterator[None]:
        """Nothing: whose line it is says that the cell begins."""
        yield

    def progress(
        self,
        step: int,
        loss: float,
        validation: float | None = None,
        tokens_per_second: float | None = None,
        note: str = "",
    ) -> None:
        """See `Display`; as often as a person can see."""
        if (now := time.monotonic()) - self._last >= 0.1:
            self._last = now
            seen = step, loss, validation, tokens_per_second, note
            self._tell({"do": "progress", "args": seen})

    def work(self, description: str, done: int, total: int) -> None:
        """See `Display`."""
        self._tell({"do": "work", "args": (description, done, total)})

    def message(self, text: str) -> None:
        """See `Display`."""
        self._tell({"do": "message", "args": (text,)})

    def evaluation(self, step: int, name: str, metrics: dict, best: bool) -> None:
        """Nothing: the run keeps it."""

    def sample(self, step: int | None, text: str) -> None:
        """Nothing: the run keeps it."""


def main(args: list[str]) -> int:
    """Train the cells that standard input names."""
    folder, *cores = args
    if cores:  # before jax asks how many there are
        os.sched_setaffinity(0, map(int, cores))
    # What a library prints must not stand between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(what: dict[str, Any]) -> None:
        with suppress(BrokenPipeError):  # then standard input ends too
            print(json.dumps(what), file=answers, flush=True)

    configure()
    names: queue.Queue[str] = queue.Queue()
    end_with_parent(names.put)
    warm = Warm()
    stopped = None
    with Interrupt() as interrupt:
        while (stopped or interrupt.received) is None:
            with suppress(queue.Empty):
                stopped = train(Path(folder), names.get(timeout=0.1), tell, warm)
    return 0


def train(folder: Path, name: str, tell: Tell, warm: Warm) -> int | None:
    """Train a cell by its name, and tell how it was left.

    Returns:
        The signal that stopped it, if one did.
    """
    display = Told(tell)
    found = attempt(
        folder / name, lambda: run_cell(handed_over(folder, name), display, warm)
    )
    tell({"do": LEFT, "args": found})
    return found.signal


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
