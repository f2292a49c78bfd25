"""Run the cells of a sweep side by side, in processes that each have a share."""

import json
import queue
import subprocess
import tempfile
import threading
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from lm_jax.ablation.plan import Cell
from lm_jax.processes import how_ended, start
from lm_jax.sweeping.cells import Tried, attempt, keep_log
from lm_jax.sweeping.live import Board, BoardDisplay
from lm_jax.sweeping.shares import Share
from lm_jax.sweeping.work import TO_RUN, Work
from lm_jax.sweeping.worker import LEFT, hand_over

_LOOK = 0.2  # seconds between two looks at signals, and at what others train
_TRIES = 2  # of a cell whose process ends with it
_OPEN = (*TO_RUN, "running")


class Worker:
    """A process that trains one cell after another; see `lm_jax.sweeping.worker`.

    Args:
        folder: of the plan.
        share: of the machine, that is its own.
        events: takes (worker, what it tells), and (worker, None) when it has ended.

    Attributes:
        cell: that it trains; None while it waits for one.
        shown: the line of that cell.
        compiled: the variants that it needn't compile again.
    """

    cell: Cell | None = None
    shown: BoardDisplay | None = None
    compiled: frozenset[str] = frozenset()

    def __init__(self, folder: Path, share: Share, events: queue.Queue):
        self._folder, self._share, self._events = folder, share, events
        self._process: subprocess.Popen | None = None

    def begin(self, cell: Cell, shown: BoardDisplay) -> None:
        """Give it a cell; the process is started if there is none.

        Raises:
            UserError: the cell can't be handed over.
        """
        self.cell, self.shown = cell, shown
        self.compiled |= {cell.variant}
        line = f"{hand_over(cell)}\n"
        self._process = self._process or self._started()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has just ended, and will be heard of
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
        shown.begin()

    def rest(self) -> Cell:
        """Take away its cell: it has left it."""
        assert self.cell is not None and self.shown is not None
        self.shown.close()
        cell, self.cell = self.cell, None
        return cell

    def stop(self) -> None:
        """Have it save and end."""
        if self._process is not None and self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()

    def kill(self) -> None:
        """End it at once: the run goes on from its last checkpoint."""
        if self._process is not None:
            self._process.kill()

    def ended(self) -> tuple[str, str]:
        """Wait until it has: how it did, and all that it wrote on standard error."""
        if self._process is None:
            return "", ""
        self.stop()
        status, self._process = self._process.wait(), None
        self.compiled = frozenset()
        with self._log:
            self._log.seek(0)
            said = self._log.read()
        return how_ended(status, said), said

    def _started(self) -> subprocess.Popen:
        log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._log = log
        process = start(
            "lm_jax.sweeping.worker",
            [self._folder, *self._share.cores],
            stdout=subprocess.PIPE,
            stderr=log,
            variables=self._share.variables,
            apart=True,
        )

        def read() -> None:
            assert process.stdout is not None
            # What was killed may leave half a line.
            with process.stdout as lines, suppress(ValueError):
                for line in lines:
                    self._events.put((self, json.loads(line)))
            self._events.put((self, None))

        threading.Thread(target=read, daemon=True).start()
        return process


class SideBySide:
    """As many cells at once as there are shares of the machine.

    Args:
        folder: of the plan.
        shares: of each process.
        board: where their lines are drawn.
    """

    def __init__(self, folder: Path, shares: list[Share], board: Board):
        self._events: queue.Queue[tuple[Worker, Any]] = queue.Queue()
        self._workers = [Worker(folder, share, self._events) for share in shares]
        self._board = board
        self._waiting: list[Cell] = []
        self._died: Counter[Cell] = Counter()

    def __enter__(self) -> "SideBySide":
        """Processes are started when they have something to do."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """No process is left, and none is broken off but by a second Ctrl-C."""
        for worker in self._workers:
            worker.kill() if kind is KeyboardInterrupt else worker.stop()
        for worker in self._workers:
            worker.ended()

    def do(self, work: Work, cells: tuple[Cell, ...]) -> int | None:
        """Run those that are left, and say what became of each.

        What another process trains is waited for: that of a sweep which was killed
        stops, and leaves the rest.

        Returns:
            The signal that stopped it, if one did.
        """
        self._waiting = [c for c in cells if work.is_left(c) or _elsewhere(work, c)]
        for cell in cells:
            if cell not in self._waiting:
                work.say(cell)
        while self._waiting or self._busy():
            if work.interrupt.received:
                self._waiting.clear()
                for worker in self._workers:
                    worker.stop()
            else:
                self._hand_out(work)
            with suppress(queue.Empty):
                self._hear(work, *self._events.get(timeout=_LOOK))
        return work.interrupt.received

    def _busy(self) -> bool:
        return any(worker.cell is not None for worker in self._workers)

    def _hand_out(self, work: Work) -> None:
        """Give each worker that has none a cell, if there is one."""
        for cell in list(self._waiting):
            if _elsewhere(work, cell) and work.look(cell).word not in _OPEN:
                self._waiting.remove(cell)
                work.say(cell)
        for worker in self._workers:
            ready = [cell for cell in self._waiting if work.is_ready(cell)]
            if worker.cell is None and ready:
                elsewhere = (w.compiled for w in self._workers if w is not worker)
                cell = chosen(
                    ready, worker.compiled, frozenset[str]().union(*elsewhere)
                )
                self._waiting.remove(cell)
                steps = work.steps(cell)
                shown = BoardDisplay(cell, steps, work.pace, self._board)
                found = attempt(cell.run, partial(worker.begin, cell, shown))
                if found.failed:
                    work.tried(worker.rest(), found)
        if not (self._busy() or any(self._comes(work, c) for c in self._waiting)):
            for cell in self._waiting:
                work.leave(cell)
            self._waiting.clear()

    def _comes(self, work: Work, cell: Cell) -> bool:
        """Whether a cell that waits is run at some time: here, or by another sweep."""
        return work.is_ready(cell) or _elsewhere(work, cell)

    def _hear(self, work: Work, worker: Worker, told: Any) -> None:
        """Do as a worker tells."""
        if told is None:
            how, said = worker.ended()
            if worker.cell is not None:
                self._again(work, worker.rest(), how, said)
        elif told["do"] != LEFT:
            getattr(worker.shown, told["do"])(*told["args"])
        elif (found := Tried(*told["args"])).signal is None:
            work.tried(worker.rest(), found)
        # Else it was told to stop, and ends now.

    def _again(self, work: Work, cell: Cell, how: str, said: str) -> None:
        """Take up a cell again whose process ended with it; twice is a failure."""
        self._died[cell] += 1
        if work.interrupt.received:
            work.tried(cell, Tried(work.interrupt.received))
        elif self._died[cell] < _TRIES:
            work.display.message(f"{cell.title}: {how}. It is taken up again.")
            self._waiting.insert(0, cell)
        else:
            log = keep_log(cell.run, said)
            work.tried(cell, Tried(None, f"{how}, and so it did before ({log})."))


def chosen(ready: list[Cell], here: frozenset[str], elsewhere: frozenset[str]) -> Cell:
    """The cell for a worker: of the first seed, as those before it have their pairs.

    Args:
        ready: that wait.
        here: the variants that the worker has compiled.
        elsewhere: those that others have.
    """
    return min(
        (cell for cell in ready if cell.seed == ready[0].seed),
        key=lambda cell: (cell.variant not in here, cell.variant in elsewhere),
    )


def _elsewhere(work: Work, cell: Cell) -> bool:
    """Whether another process trains a cell, as far as was looked."""
    return work.states[cell].word == "running"
