"""What stops a run: signals, a second compilation, numbers that aren't finite."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from jax.experimental import multihost_utils

from lm_jax.distributed import several


class Interrupt:
    """Remembers SIGINT, SIGTERM or SIGHUP, so that the loop can finish its step.

    A second signal of the same kind ends the process at once, but SIGHUP: a terminal
    that hangs up sends several (the kernel's and the shell's). Where it is ignored,
    as under nohup, it stays so.

    Of several processes each tells the others, and all stop after the same step: jax
    listens for SIGTERM there, and the other signals are made one.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupt":
        """Listen."""
        for number in (signal.SIGINT, signal.SIGTERM)[: 1 if several() else 2]:
            self._before[number] = signal.signal(number, self._receive)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            before = signal.signal(signal.SIGHUP, self._receive)
            self._before[signal.SIGHUP] = before
        for handler in self._before.values():
            # Who listens around it may have been told already.
            outer = getattr(handler, "__self__", None)
            if isinstance(outer, Interrupt):
                self.received = self.received or outer.received
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def reached(self, step: int) -> bool:
        """Whether to stop after a step; every process asks at every step."""
        # It asks nobody before somebody has told: nine microseconds.
        if several() and multihost_utils.reached_preemption_sync_point(step):
            self.received = signal.SIGTERM
        return self.received is not None

    def _outside(self, number: int) -> Any:
        """The handler of a signal outside of all that listen."""
        handler = self._before[number]
        outer = getattr(handler, "__self__", None)
        return outer._outside(number) if isinstance(outer, Interrupt) else handler

    def _receive(self, number: int, _: FrameType | None) -> None:
        if several():
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            self.received = number
        if number == signal.SIGHUP:
            return
        with suppress(OSError):  # the terminal may be gone
            os.write(2, b"\nStopping after this step. Once more stops at once.\n")
        signal.signal(number, self._outside(number))


class Recompiled(RuntimeError):
    """A function was compiled again after the first evaluation."""


class CompileGuard:
    """Counts the compilations of jitted functions, and forbids more.

    A second compilation in mid-run is a wait that nobody asked for: a shape or
    a type changed, and at scale it costs minutes at every change.

    Args:
        functions: by name.
        shapes: of a function, how many shapes of input are known; one that isn't
            named has those that it had at the first check.
    """

    def __init__(
        self, functions: dict[str, Callable], shapes: dict[str, int] | None = None
    ):
        self._functions = functions
        self._shapes = shapes or {}
        self._known: dict[str, int] | None = None

    def check(self) -> None:
        """At the first call, note the count; later, raise if one has grown.

        Raises:
            Recompiled: naming the function.
        """
        counts = {name: f._cache_size() for name, f in self._functions.items()}  # type: ignore[attr-defined]
        if self._known is None:
            self._known = counts | self._shapes
        for name, count in counts.items():
            if count > self._known[name]:
                raise Recompiled(
                    f"{name} was compiled again after the first evaluation: the "
                    "shape or type of an input changed from one step to the next."
                )
