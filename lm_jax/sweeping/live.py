"""What a sweep shows while it runs: a row for each cell, and those that train."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from lm_jax.ablation.plan import Cell, Plan
from lm_jax.runs.display import Display, Line
from lm_jax.runs.figures import duration


class Pace:
    """How long the rest of a sweep takes, at the pace of what it has done.

    Args:
        work: what each cell that is to run amounts to: FLOPs, by its directory.
    """

    def __init__(self, work: dict[Path, float]):
        self._work = dict(work)
        self._done = dict.fromkeys(work, 0.0)
        # Time and work of the first step.
        self._first: tuple[float, float] | None = None

    def at(self, cell: Cell, share: float) -> None:
        """So much of a cell is done; all of it, however it ended."""
        if cell.run in self._work:
            self._done[cell.run] = share

    def left(self) -> float | None:
        """Seconds until the last cell ends; None before there is a pace."""
        now = time.monotonic()
        done = sum(share * self._work[run] for run, share in self._done.items())
        if self._first is None:  # compiling the first program is no step
            self._first = now, done
        began, first = self._first
        if done <= first:
            return None
        return (now - began) * (sum(self._work.values()) - done) / (done - first)


class CellDisplay(Display):
    """The line of a cell that trains; what it evaluates stays in its files.

    Args:
        cell: that trains.
        total_steps: of its training.
        pace: of the whole sweep.
    """

    def __init__(self, cell: Cell, total_steps: int, pace: Pace, stream: Any = None):
        super().__init__(total_steps, stream, cell.title)
        self._cell, self._whole = cell, pace

    def begin(self) -> None:
        """Say that the cell is set up and compiled: seconds without a step.

        One that goes on has steps already, and how many isn't read yet.
        """
        self._draw(self._title, 0, self._total, ["compiling"])

    @contextmanager
    def waiting(self, description: str) -> Iterator[None]:
        """Nothing more than `begin` says."""
        yield

    def progress(
        self,
        step: int,
        loss: float,
        validation: float | None = None,
        tokens_per_second: float | None = None,
        note: str = "",
    ) -> None:
        """Where the cell stands, and what is left of the whole."""
        self._whole.at(self._cell, step / max(1, self._total))
        left = self._whole.left()
        told = f"all {duration(left)} left" if left is not None else ""
        super().progress(step, loss, validation, None, note or told)

    def evaluation(self, step: int, name: str, metrics: dict, best: bool) -> None:
        """Nothing: the run keeps it."""

    def sample(self, step: int | None, text: str) -> None:
        """Nothing: the run keeps it."""


class Board(Display):
    """The lines of the cells that train side by side."""

    def __init__(self, stream: Any = None):
        super().__init__(0, stream)
        self._lines: dict[Cell, Line] = {}

    def put(self, cell: Cell, line: Line) -> None:
        """Draw the line of a cell anew, below those of the others."""
        self._lines[cell] = line
        if self._terminal:
            self._show(list(self._lines.values()))
        else:
            self._draw(*line)

    def drop(self, cell: Cell) -> None:
        """A cell trains no more."""
        self._lines.pop(cell, None)
        if not self._lines:
            self._stop(keep=False)
        elif self._terminal:
            self._show(list(self._lines.values()))

    def print(self, line: Text) -> None:
        """A line that stays, above the others."""
        self._print(line)


class BoardDisplay(CellDisplay):
    """The line of a cell on a board.

    Args:
        cell, total_steps, pace: as of `CellDisplay`.
        board: that it is drawn on.
    """

    def __init__(self, cell: Cell, total_steps: int, pace: Pace, board: Board):
        super().__init__(cell, total_steps, pace)
        self._board = board

    def close(self) -> None:
        """Take the line away."""
        self._board.drop(self._cell)

    def _draw(self, name: str, done: int, total: int, pieces: list[str]) -> None:
        self._board.put(self._cell, (name, done, total, pieces))

    def _stop(self, keep: bool) -> None:
        """Nothing: the line is one of several."""

    def _print(self, line: Text) -> None:
        self._board.print(line)


def row(plan: Plan, cell: str, word: str, told: str) -> str:
    """A line that stays: of a cell, or the head of all.

    Args:
        plan: whose longest name makes the column.
        cell: its title.
        word: its state.
        told: its score and time, or what else there is to say.
    """
    room = max(cell_len(each.title) for each in (*plan.trials, *plan.cells))
    return f"  {set_cell_size(cell, room)}  {word:12}  {told}".rstrip()
