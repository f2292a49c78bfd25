"""Train runs together: one program makes a step of each at once."""

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from lm_jax.ablation.plan import Cell
from lm_jax.runs.checkpoints import has_checkpoint
from lm_jax.runs.display import Display
from lm_jax.sweeping.cells import Warm, attempt, program_of, run_cell
from lm_jax.sweeping.live import Board, BoardDisplay
from lm_jax.sweeping.work import Work, one_after_another
from lm_jax.training.abreast import Abreast
from lm_jax.training.run import train_run
from lm_jax.training.setup import CACHE, set_up

_LOOK = 0.2  # seconds between two looks at signals


class Together:
    """As many seeds, and schedules, of a model at once as a plan says.

    Args:
        width: of the program.
        board: where the lines of the cells are drawn.
    """

    def __init__(self, width: int, board: Board):
        self._width, self._board, self._warm = width, board, Warm()

    def do(self, work: Work, cells: tuple[Cell, ...]) -> int | None:
        """Run those that are left, and say what became of each.

        Returns:
            The signal that stopped it, if one did.
        """
        alone = tuple(cell for cell in cells if not _shares(cell))
        if stopped := one_after_another(work, alone, self._alone):
            return stopped
        for group in groups(cells, self._width):
            left = [cell for cell in group if work.is_ready(cell)]
            for cell in group:
                if cell not in left:
                    work.leave(cell)
            if left:
                self._train(work, left)
            if work.interrupt.received:
                return work.interrupt.received
        return None

    def _alone(self, cell: Cell, display: Display) -> int | None:
        return run_cell(cell, display, self._warm)

    def _train(self, work: Work, cells: list[Cell]) -> None:
        """Train cells that share a program, each in a thread."""
        fresh = not all(has_checkpoint(cell.run) for cell in cells)
        first = cells[0]
        progress = self._board.work
        setup = set_up(first.experiment, progress=progress, fresh=fresh, run=first.run)
        compiled = self._warm.compiled(cells[0], setup)
        abreast = Abreast(compiled, len(cells), self._width)
        threads = [
            threading.Thread(target=self._run, args=(work, abreast, k, cell, fresh))
            for k, cell in enumerate(cells)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():  # a wait without end hears no signal
                thread.join(_LOOK)

    def _run(
        self, work: Work, abreast: Abreast, index: int, cell: Cell, fresh: bool
    ) -> None:
        """Train one of the cells, in this thread."""
        shown = BoardDisplay(cell, work.steps(cell), work.pace, self._board)

        def launch() -> int | None:
            what = cell.experiment, None, CACHE, shown.work
            setup = set_up(*what, fresh=fresh, run=cell.run)
            compiled = abreast.member(index)
            where = cell.experiment, cell.run, setup, shown, compiled
            return train_run(*where, interrupt=work.interrupt).signal

        with abreast.turns:
            with closing(shown):
                shown.begin()
                found = attempt(cell.run, launch)
            abreast.leave(index)
            if found.signal is None:
                work.tried(cell, found)


def groups(cells: tuple[Cell, ...], width: int) -> Iterator[list[Cell]]:
    """The cells of each program, so many at a time; of so many seeds all variants."""
    found: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in filter(_shares, cells):
        block = cell.seed // width if cell.trial is None else "trials"
        found.setdefault((block, program_of(cell)), []).append(cell)
    for cells_of_one in found.values():
        for first in range(0, len(cells_of_one), width):
            yield cells_of_one[first : first + width]


def _shares(cell: Cell) -> bool:
    """Whether a cell is trained beside others."""
    return cell.experiment.execution.together > 1
