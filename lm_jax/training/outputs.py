"""Where a run writes, what it shows, and what is told of it."""

from dataclasses import dataclass, field
from pathlib import Path

from lm_jax.evaluation import Found
from lm_jax.runs.display import Display
from lm_jax.runs.ledger import Past
from lm_jax.runs.metrics import MetricsLog, append_sample
from lm_jax.runs.sinks import Sink
from lm_jax.training.clock import Clock
from lm_jax.training.profiling import Profile
from lm_jax.training.watchdog import Watchdog

SHOWN = ("loss", "bits_per_byte", "masked_accuracy", "accuracy")


@dataclass(frozen=True)
class Outputs:
    """Where a run writes, what it shows, and what is told of it.

    Attributes:
        run: its directory.
        display, metrics, sinks: what is written to. Of several processes one has
            metrics: it writes.
        past: what was written of the steps that are made again.
        watchdog, clock: are told what goes on.
        profile: traces some steps.
    """

    run: Path
    display: Display
    metrics: MetricsLog | None
    sinks: list[Sink]
    past: Past
    watchdog: Watchdog = Watchdog(None)
    clock: Clock = field(default_factory=Clock)
    profile: Profile = Profile(None)

    def write(
        self, step: int, values: dict[str, float], **unplotted: int | float | None
    ) -> None:
        """One line of metrics.jsonl, and its values to every sink."""
        row = values | {name: d for name, d in unplotted.items() if d is not None}
        if self.metrics is None:
            return
        self.metrics.write(step, row)
        if values:
            for sink in self.sinks:
                sink.write(step, values)
        if otherwise := self.past.differs(step, row):
            self.display.message(otherwise)

    def show(self, step: int, name: str, found: Found, best: bool) -> None:
        """What an evaluation found, for people; texts go to samples.txt too."""
        shown = {key: found.scores[key] for key in SHOWN if key in found.scores}
        if shown or found.scores:
            self.display.evaluation(step, name, shown or found.scores, best)
        for text in found.texts:
            if self.metrics is not None:
                append_sample(self.run / "samples.txt", step, text)
            self.display.sample(step, text)

    def work(self, description: str, done: int, total: int) -> None:
        """Show work that is not training."""
        self.watchdog.now(f"{description}, {done} of {total}")
        self.display.work(description, done, total)

    def close(self) -> None:
        """Close what is written to."""
        self.profile.close()
        for output in ([self.metrics] if self.metrics else []) + self.sinks:
            output.close()
