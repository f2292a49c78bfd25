"""What a report is made of: the runs of each variant, and what was found."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lm_jax.ablation.plan import Place
from lm_jax.ablation.states import State
from lm_jax.runs.metrics import read_metrics
from lm_jax.runs.result import read_result
from lm_jax.statistics.report import Report

Progress = Callable[[str, int, int], None]
# What a step amounts to on each axis but the first, by the results' numbers.
AXES = ("step", "token", "FLOP", "time")


@dataclass(frozen=True)
class Member:
    """A run of a variant.

    Attributes:
        place: variant, seed and directory.
        metrics: the lines of metrics.jsonl.
        result: of the run; empty of one that hasn't ended, or doesn't count.
    """

    place: Place
    metrics: list[dict]
    result: dict

    def a_step(self, axis: str) -> float | None:
        """How much of an axis a step is; None where the result doesn't tell.

        Time is in seconds, at the run's mean pace: compiling and evaluations are left
        out.
        """
        found = self.result
        if axis == "step":
            return 1.0
        if not found.get("steps"):
            return None
        whole = {"token": found.get("tokens"), "FLOP": found.get("flops")}
        if axis == "time" and found.get("tokens_per_second"):
            whole["time"] = found["tokens"] / found["tokens_per_second"]
        amount = whole.get(axis)
        return amount / found["steps"] if amount else None


@dataclass(frozen=True)
class Variant:
    """The runs of a recipe, one for each seed.

    Attributes:
        name: for people.
        members: its runs that have begun.
        fields: of the recipe, resolved, by their dotted names.
    """

    name: str
    members: tuple[Member, ...]
    fields: Mapping[str, str]

    @property
    def last(self) -> int:
        """The last step of its runs; 0 before there is one."""
        return max(
            (m.metrics[-1]["step"] for m in self.members if m.metrics), default=0
        )

    def a_step(self, axis: str) -> float | None:
        """How much of an axis a step is, the mean over the runs that tell."""
        found = [step for m in self.members if (step := m.a_step(axis)) is not None]
        return float(np.mean(found)) if found else None


@dataclass(frozen=True)
class Gathered:
    """Everything that a report shows.

    Attributes:
        reports: of the sweeps, and of the runs that are in none.
        variants: of all of them.
    """

    reports: list[Report]
    variants: list[Variant]

    @cached_property
    def axes(self) -> list[str]:
        """The axes that every variant can be drawn along."""
        drawn = [v for v in self.variants if any(m.metrics for m in v.members)]
        return [a for a in AXES if all(v.a_step(a) is not None for v in drawn)]

    @property
    def measures(self) -> list[str]:
        """What is compared, each once."""
        return list(dict.fromkeys(report.measure for report in self.reports))

    @property
    def title(self) -> str:
        """The folders, shortly."""
        names = [r.folder.absolute().name for r in self.reports]
        return ", ".join(dict.fromkeys(names))


def members(
    places: Sequence[Place], states: Mapping[Place, State], progress: Progress | None
) -> list[Member]:
    """What runs wrote, of those that have begun."""
    found = []
    for done, place in enumerate(places):
        if progress:
            progress("reading runs", done, len(places))
        path = place.run / "metrics.jsonl"
        if (place.run / "experiment.json").exists():
            ended = states[place].word == "ended"
            rows = read_metrics(path) if path.exists() else []
            found.append(Member(place, rows, read_result(place.run) if ended else {}))
    if progress:
        progress("reading runs", len(places), len(places))
    return found
