"""Where the time of a run goes: in each phase, over all processes that trained it.

Nothing here waits for a device: a phase ends when the host goes on. Steps are read one
step late, so that what a device computes is waited for as time of steps.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax

PHASES = {
    "start": "reading the data, the first state",
    "restart": "the same of a run that is taken up again",
    "compiling": "the step, and whatever else is compiled",
    "data": "waiting for batches",
    "step": "training",
    "evaluation": "evaluations that give scores",
    "samples": "those that give none",
    "checkpoints": "what of saving training waits for",
    "trace": "writing what --profile asks for",
    "lost": "what processes made that were killed before they saved it",
}
_COMPILES = "/jax/core/compile/backend_compile_duration"
_compiled = 0.0  # seconds in which this process has compiled


def _note(event: str, duration_secs: float, **_: object) -> None:
    global _compiled
    if event == _COMPILES:
        _compiled += duration_secs


jax.monitoring.register_event_duration_secs_listener(_note)


class Clock:
    """Seconds of a run by `PHASES`.

    Args:
        phase: that it begins with.
        before: seconds of that phase that are over.

    Attributes:
        steps: that this process made since its first, which isn't counted.
    """

    def __init__(self, phase: str = "start", before: float = 0.0) -> None:
        self.steps = 0
        self._seconds: Any = Counter({phase: before})
        self._phase, self._since = phase, time.perf_counter()
        self._compiled = _compiled
        self._first: float | None = None
        self._waited = 0.0

    def add_past(self, saved: Mapping[str, float], last: float) -> None:
        """Count what processes before this one took.

        Args:
            saved: seconds by phase, up to the last checkpoint.
            last: seconds in all, up to the last step that they made.
        """
        self._seconds.update(saved)
        self._seconds["lost"] += max(0.0, last - sum(saved.values()))

    def now(self, phase: str) -> str:
        """Say which phase begins now; return the one that has ended."""
        before, now = self._phase, time.perf_counter()
        passed = now - self._since
        compiled = min(passed, _compiled - self._compiled)
        self._seconds["compiling"] += compiled
        self._seconds[before] += passed - compiled
        self._phase, self._since, self._compiled = phase, now, _compiled
        return before

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Count what happens inside as a phase of its own."""
        before = self.now(phase)
        try:
            yield
        finally:
            self.now(before)

    def step(self, waited: float) -> None:
        """Count one finished step, and the seconds its batch was waited for."""
        self.now(self._phase)
        self._seconds["step"] -= waited
        self._seconds["data"] += waited
        if self._first is None:
            self._first, self._waited = self._training(), self._seconds["data"]
        else:
            self.steps += 1

    def seconds(self) -> dict[str, float]:
        """Seconds by phase up to now, in the order of `PHASES`; none is 0."""
        self.now(self._phase)
        return {name: self._seconds[name] for name in PHASES if self._seconds[name]}

    def total(self) -> float:
        """Seconds of all phases up to now."""
        self.now(self._phase)
        return self._seconds.total()

    def steps_per_second(self) -> float | None:
        """Steps per second of training in this process; None before there are two."""
        return self.steps / self._trained() if self.steps else None

    def data_wait(self) -> float:
        """Share of this process's training that was spent waiting for batches."""
        if not self.steps:
            return 0.0
        return (self._seconds["data"] - self._waited) / self._trained()

    def _training(self) -> float:
        self.now(self._phase)
        return self._seconds["step"] + self._seconds["data"]

    def _trained(self) -> float:
        assert self._first is not None
        return max(1e-9, self._training() - self._first)
