"""What a run knows of itself while it trains: its evaluations and its time."""

import dataclasses
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Progress:
    """What evaluations have found; a checkpoint holds it as JSON.

    Attributes:
        validation: (step, loss) of each evaluation that is watched; of a score
            that is better when larger, what is missing to nothing (-score).
        seconds: of all the processes that trained this run, up to the last
            checkpoint; compiling and evaluations count.
        skipped: steps that were not finite, and left out.
        in_row: of these, those that came one after the other up to the last step.
    """

    validation: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0
    skipped: int = 0
    in_row: int = 0

    @classmethod
    def from_json(cls, saved: dict) -> "Progress":
        """What `to_json` and JSON made of it, as it was."""
        pairs = [(step, loss) for step, loss in saved["validation"]]
        skipped = saved.get("skipped", 0), saved.get("in_row", 0)
        return cls(pairs, saved["seconds"], *skipped)

    def to_json(self) -> dict:
        """What a checkpoint keeps of it; "best" is the step of the best one."""
        best = self.best[0] if self.best else None
        return dataclasses.asdict(self) | {"best": best}

    def add(self, step: int, score: float, larger_is_better: bool) -> None:
        """Note what the watched evaluation found; see ``validation``."""
        self.validation.append((step, -score if larger_is_better else score))

    @property
    def losses(self) -> list[float]:
        """The losses alone."""
        return [loss for _, loss in self.validation]

    @property
    def best(self) -> tuple[int, float] | None:
        """Step and loss of the best evaluation."""
        finite = [pair for pair in self.validation if math.isfinite(pair[1])]
        return min(finite, key=lambda pair: pair[1], default=None)

    def is_best(self, step: int) -> bool:
        """Whether the best evaluation is the one of this step."""
        return self.best is not None and self.best[0] == step

    def waited(self) -> int:
        """Evaluations since the best one."""
        if self.best is None:
            return len(self.validation)
        return sum(step > self.best[0] for step, _ in self.validation)


class Clock:
    """Seconds spent training and waiting for data, evaluations left out.

    It starts at the end of the first step, so that compiling doesn't count.
    """

    def __init__(self) -> None:
        self.steps = 0
        self._start: float | None = None
        self._paused = 0.0
        self._pause_began: float | None = None
        self._waited = 0.0

    def step(self, waited: float) -> None:
        """Count one finished step, and the seconds its batch was waited for."""
        if self._start is None:
            self._start = time.perf_counter()
            return
        self.steps += 1
        self._waited += waited

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what happens inside."""
        self._pause_began = time.perf_counter()
        yield
        self._paused += time.perf_counter() - self._pause_began
        self._pause_began = None

    def steps_per_second(self) -> float | None:
        """Steps per second of training; None before there are two."""
        return self.steps / self._seconds() if self.steps else None

    def data_wait(self) -> float:
        """Share of the training time that was spent waiting for batches."""
        return self._waited / self._seconds() if self.steps else 0.0

    def _seconds(self) -> float:
        assert self._start is not None
        now = self._pause_began
        now = time.perf_counter() if now is None else now
        return max(1e-9, now - self._start - self._paused)
