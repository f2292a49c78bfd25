"""What ends a process that is alive and stuck: no step ends in time."""

import faulthandler
import os
import sys
import threading
import time
from contextlib import suppress

import jax

from lm_jax.distributed import publish, published

LATER = 10.0
"""Seconds that one may still take when a wait for it has ended."""
_GRACE = 2.0  # seconds in which others that are stuck say so


class Watchdog:
    """Ends a process whose work doesn't go on: with all stacks, and status 1.

    A rank that waits for ever still answers to those who only ask whether it lives.

    Args:
        seconds: that anything may take; None watches nothing.
    """

    def __init__(self, seconds: float | None):
        self._seconds = seconds
        self._doing, self._since = "starting", time.monotonic()
        self._ended = threading.Event()

    def __enter__(self) -> "Watchdog":
        """Watch."""
        if self._seconds is not None:
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Watch no more."""
        self._ended.set()

    def now(self, doing: str) -> None:
        """Say what begins now; whatever was before has ended."""
        self._doing, self._since = doing, time.monotonic()

    def _watch(self) -> None:
        assert self._seconds is not None
        while not self._ended.wait(min(1.0, self._seconds / 4)):
            if time.monotonic() - self._since > self._seconds:
                self._end(self._seconds)

    def _end(self, seconds: float) -> None:
        doing, own = self._doing, jax.process_index()
        faulthandler.dump_traceback(2)
        try:
            _say_of_all(doing)
        finally:  # whatever goes wrong with that
            said = f"Process {own} is stuck: {doing} took over {seconds:g} s."
            print(said, file=sys.stderr, flush=True)
            time.sleep(_GRACE if own == 0 else 0)  # the others ask it
            os._exit(1)


def _say_of_all(doing: str) -> None:
    """Tell the other processes what this one does, and print what each told."""
    if jax.process_count() == 1:
        return
    with suppress(jax.errors.JaxRuntimeError):
        publish("stuck", doing)
        time.sleep(_GRACE)
    told = published("stuck")
    for process in range(jax.process_count()):
        what = told.get(process, "says nothing: it ended, or can't answer")
        print(f"  process {process}: {what}", file=sys.stderr)
