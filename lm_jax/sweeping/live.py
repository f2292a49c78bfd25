"""What a sweep shows while it runs: a row for each cell, and the one that trains."""

import time
from pathlib import Path
from typing import Any

from lm_jax.ablation.plan import Cell, Plan
from lm_jax.runs.display import Display
from lm_jax.runs.figures import duration


class CellDisplay(Display):
    """The line of the cell that trains; what it evaluates stays in its files.

    Args:
        title: of the cell.
        total_steps: of its training.
        pace: of the whole sweep.
    """

    def __init__(self, title: str, total_steps: int, pace: "Pace", stream: Any = None):
        super().__init__(total_steps, stream, title)
        self._whole = pace

    def begin(self) -> None:
        """Say that the cell is set up and compiled: seconds without a step."""
        self._draw(f"{self._title} 0/{self._total}", 0, self._total, ["compiling"])

    def progress(
        self,
        step: int,
        loss: float,
        validation: float | None = None,
        tokens_per_second: float | None = None,
        note: str = "",
    ) -> None:
        """Where the cell stands, and what is left of the whole."""
        left = self._whole.left(step / max(1, self._total))
        told = f"all {duration(left)} left" if left is not None else ""
        super().progress(step, loss, validation, None, note or told)

    def evaluation(self, step: int, name: str, metrics: dict, best: bool) -> None:
        """Nothing: the run keeps it."""

    def sample(self, step: int, text: str) -> None:
        """Nothing: the run keeps it."""


class Pace:
    """How long the rest of a sweep takes, at the pace of what it has done.

    Args:
        work: what each cell that is to run amounts to: FLOPs, by its directory.
    """

    def __init__(self, work: dict[Path, float]):
        self._work = dict(work)
        self._whole = sum(work.values())
        self._before = 0.0  # of the cells before this one
        self._cell: Cell | None = None
        # Time and work of the first step.
        self._first: tuple[float, float] | None = None

    def begin(self, cell: Cell) -> None:
        """A cell begins; the one before it is done, however it ended."""
        if self._cell is not None:
            self._before += self._work[self._cell.run]
        self._cell = cell

    def left(self, share: float) -> float | None:
        """Seconds until the last cell ends; None before there is a pace.

        Args:
            share: of the cell that runs, that is done.
        """
        now = time.monotonic()
        assert self._cell is not None
        done = self._before + share * self._work[self._cell.run]
        if self._first is None:  # compiling the first program is no step
            self._first = now, done
        began, first = self._first
        if done <= first:
            return None
        return (now - began) * (self._whole - done) / (done - first)


def row(plan: Plan, cell: str, word: str, told: str) -> str:
    """A line that stays: of a cell, or the head of all.

    Args:
        plan: whose longest name makes the column.
        cell: its title.
        word: its state.
        told: its score and time, or what else there is to say.
    """
    room = max(len(each.title) for each in (*plan.trials, *plan.cells))
    return f"  {cell:{room}}  {word:12}  {told}".rstrip()
