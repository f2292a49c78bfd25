"""What a run knows of itself while it trains: its evaluations and its time."""

import dataclasses
import math
from dataclasses import dataclass, field


@dataclass
class Progress:
    """What evaluations have found; a checkpoint holds it as JSON.

    Attributes:
        validation: (step, loss) of each evaluation that is watched; of a score
            that is better when larger, what is missing to nothing (-score).
        seconds: of all the processes that trained this run, up to the last
            checkpoint, by what they went to; see `clock.PHASES`.
        skipped: steps that were not finite, and left out.
        in_row: of these, those that came one after the other up to the last step.
    """

    validation: list[tuple[int, float]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    skipped: int = 0
    in_row: int = 0

    @classmethod
    def from_json(cls, saved: dict) -> "Progress":
        """What `to_json` and JSON made of it, as it was."""
        pairs = [(step, loss) for step, loss in saved["validation"]]
        skipped = saved.get("skipped", 0), saved.get("in_row", 0)
        seconds = saved["seconds"]
        # A number alone was of steps, for the most part.
        seconds = seconds if isinstance(seconds, dict) else {"step": seconds}
        return cls(pairs, seconds, *skipped)

    def to_json(self) -> dict:
        """What a checkpoint keeps of it; "best" is the step of the best one."""
        best = self.best[0] if self.best else None
        return dataclasses.asdict(self) | {"best": best}

    def add(self, step: int, score: float, larger_is_better: bool) -> None:
        """Note what the watched evaluation found; see ``validation``."""
        self.validation.append((step, -score if larger_is_better else score))

    def without(self, step: int) -> "Progress":
        """What would be known, had no evaluation been made at a step."""
        others = [pair for pair in self.validation if pair[0] != step]
        return dataclasses.replace(self, validation=others)

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
