"""Processes that encode text side by side; each runs this file.

Python's lock lets threads share little of what tokenizers and documents cost. A chunk
goes to a process and its tokens come back, so that as much is in memory as there are
processes. They are no pool of `multiprocessing`: that begins by importing the user's
own script again in each, which would train there too unless it is guarded.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, BinaryIO

from lm_jax.errors import UserError
from lm_jax.processes import how_ended, start


class Encoders:
    """Calls a function of this package in other processes, from any thread.

    Args:
        function: of a module, that is called with each item that `__call__` is given.
        arguments: before that.
        count: of processes.
    """

    def __init__(self, function: Callable, arguments: Sequence[Any], count: int):
        self._first, self._count = (function, tuple(arguments)), count
        self._started: list[subprocess.Popen] = []
        self._free: SimpleQueue[subprocess.Popen] = SimpleQueue()

    def __enter__(self) -> "Encoders":
        """Start them."""
        for _ in range(self._count):
            # Ctrl-C is for the process that asks, which ends them.
            process = start(
                "lm_jax.tokenizers.encoders", [], stdout=subprocess.PIPE, apart=True
            )
            self._started.append(process)
            _give(process, self._first)
            self._free.put(process)
        return self

    def __exit__(self, *_: object) -> None:
        """End them."""
        for process in self._started:
            process.kill()
            with suppress(BrokenPipeError):  # what it was given last, and didn't read
                process.communicate()

    def __call__(self, item: Any) -> Any:
        """Call the function in a process that is free.

        Raises:
            UserError: as the function does; the process ended.
        """
        process = self._free.get()
        try:
            _give(process, item)
            assert process.stdout is not None
            found = pickle.load(process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            how = how_ended(process.wait(), "")
            raise UserError(
                f"A process that tokenizes is no more. {how}. Where memory is short, "
                "let it have fewer cores (taskset)."
            ) from error
        finally:
            self._free.put(process)  # one that ended is missed by all who ask it
        if isinstance(found, UserError):
            raise found
        return found


def _give(process: subprocess.Popen, item: Any) -> None:
    assert process.stdin is not None
    pickle.dump(item, process.stdin, pickle.HIGHEST_PROTOCOL)
    process.stdin.flush()


def _serve() -> None:
    """Answer until nothing more is asked."""
    asked, answers = _read(sys.stdin.buffer), sys.stdout.buffer
    function: Any
    function, arguments = next(asked, (None, ()))
    for item in asked:
        try:
            found = function(*arguments, item)
        except UserError as error:
            found = error
        try:
            pickle.dump(found, answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()
        except BrokenPipeError:
            os._exit(0)  # nobody asks any more; and nothing can be flushed


def _read(stream: BinaryIO) -> Iterator[Any]:
    """Read what is asked, until who asks has ended, perhaps in mid-word."""
    while True:
        try:
            yield pickle.load(stream)
        except (EOFError, pickle.UnpicklingError):
            return


if __name__ == "__main__":
    _serve()
