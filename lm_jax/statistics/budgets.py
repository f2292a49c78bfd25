"""Whether what is compared had as much training, and had it to its end.

Gains vanish beside a baseline whose learning rate hasn't decayed (Kaddour et al. 2023).
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from lm_jax.errors import UserError
from lm_jax.runs.directory import experiment_json
from lm_jax.runs.figures import short
from lm_jax.runs.metrics import DECAYED, decay, read_metrics
from lm_jax.runs.rows import Ended


class Side(NamedTuple):
    """One of two that are compared: its name, and its runs, which have ended."""

    name: str
    runs: Sequence[Ended]


def unfair(one: Side, other: Side, match: str | None = None) -> Iterator[str]:
    """Say why the scores of two give no verdict on them.

    They were trained on other amounts of tokens, where nothing else was matched; or a
    learning rate was still high at the end, where more than the schedule differs: if
    that is all, it is what is judged, to its end.

    Args:
        one, other: what is compared.
        match: what their study gave both as much of; see `Study`.
    """
    here, there = _tokens(one), _tokens(other)
    if match not in ("flops", "time") and not math.isclose(here, there, rel_tol=0.01):
        yield (
            f"{one.name} is trained on {short(here)} tokens, {other.name} on "
            f"{short(there)}: give both as many (budget), or let a study match their "
            "FLOPs or time."
        )
    asked = _but_schedule(one), _but_schedule(other)
    if None in asked or asked[0] != asked[1]:
        for each in (one, other):
            yield from _undecayed(each)


def _tokens(side: Side) -> float:
    """That runs were trained on, in the mean; 0 of no runs."""
    found = [run.result["tokens"] for run in side.runs]
    return sum(found) / max(1, len(found))


def _but_schedule(side: Side) -> dict[str, Any] | None:
    """What runs were asked for besides their schedule; None where that isn't known."""
    with suppress(UserError):
        written = experiment_json(side.runs[0].path)
        asked = {**written["experiment"], "file": written.get("file")}
        return {name: asked[name] for name in asked.keys() - {"schedule", "seed"}}
    return None


def _undecayed(side: Side) -> Iterator[str]:
    """Say it where the first of some runs ended with a high learning rate."""
    share = None
    with suppress(UserError):  # what can't be read is no matter of scores
        share = decay(read_metrics(side.runs[0].path / "metrics.jsonl"))
    if share is not None and share > DECAYED:
        yield (
            f"{side.name} ended with {share:.2g} of its highest learning rate: "
            "differences may be others where rates have decayed. Let it fall to a "
            "tenth (schedule)."
        )
