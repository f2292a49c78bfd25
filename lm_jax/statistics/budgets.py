"""Whether what is compared had as much training, and had it to its end.

Gains vanish beside a baseline whose learning rate hasn't decayed (Kaddour et al. 2023).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from lm_jax.errors import UserError
from lm_jax.runs.figures import short
from lm_jax.runs.metrics import DECAYED, decay, read_metrics
from lm_jax.runs.rows import Ended


def budgets(
    against: Mapping[str, str], runs: Mapping[str, Sequence[Ended]]
) -> Iterator[str]:
    """Say which variants were trained on other amounts of tokens, or not to the end.

    Args:
        against: what each variant is compared with, by name.
        runs: of each, that have ended.
    """
    for name, other in against.items():
        here, there = (_tokens(runs[each]) for each in (name, other))
        if not math.isclose(here, there, rel_tol=0.01):
            yield (
                f"{name} is trained on {short(here)} tokens, {other} on {short(there)}."
            )
    for name, members in runs.items():
        yield from undecayed(name, members)


def _tokens(runs: Sequence[Ended]) -> float:
    """That runs were trained on, in the mean; 0 where their results don't tell."""
    found = [run.result.get("tokens", 0) for run in runs]
    return sum(found) / max(1, len(found))


def undecayed(name: str, runs: Sequence[Ended]) -> Iterator[str]:
    """Say it where the first of some runs ended with a high learning rate."""
    share = None
    with suppress(UserError):  # what can't be read is no matter of scores
        share = decay(read_metrics(runs[0].path / "metrics.jsonl")) if runs else None
    if share is not None and share > DECAYED:
        yield (
            f"{name} ended with {share:.2g} of its highest learning rate: differences "
            "may be others where rates have decayed."
        )
