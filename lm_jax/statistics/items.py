"""Differences on the same items of a split: what other items would have given."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from lm_jax.errors import UserError
from lm_jax.evaluation.items import SUMMED, Items
from lm_jax.runs.items import Kept, read_items
from lm_jax.runs.rows import Ended, Measure

_RESAMPLES = 9999
_AT_ONCE = 2**22  # numbers that are drawn at once


class OverItems(NamedTuple):
    """A difference of trained models, over the items that both were scored on.

    Attributes:
        items: how many there are.
        mean: of the differences, over the items' weights.
        low, high: its interval, had other items like these been drawn. Of these
            trained models: it says nothing of other seeds.
    """

    items: int
    mean: float
    low: float
    high: float


def bootstrap(
    differences: Float[np.ndarray, " items"],
    weights: Float[np.ndarray, " items"],
    level: float,
) -> OverItems:
    """Give the paired bootstrap's percentile interval (Efron & Tibshirani 1993, 13.3).

    Items are drawn with their weights, anew and as many, from a fixed seed. They are
    taken for independent draws: texts are, windows of one text more or less.

    Args:
        differences: the sum of each item under one model, less that under the other.
        weights: of the items.
        level: how often the interval misses.
    """
    from scipy import stats

    def mean(differences, weights, axis=-1):
        return differences.sum(axis) / weights.sum(axis)

    found = stats.bootstrap(
        (differences, weights),
        mean,
        paired=True,
        vectorized=True,
        n_resamples=_RESAMPLES,
        batch=max(1, _AT_ONCE // len(weights)),
        confidence_level=1 - level,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    whole = float(mean(differences, weights))
    return OverItems(len(weights), whole, float(found.low), float(found.high))


def over_items(
    pairs: Sequence[tuple[Ended, Ended]], measure: Measure, level: float
) -> OverItems | None:
    """Compare runs on the items that they were scored on at their last step.

    Args:
        pairs: of runs, of one seed each.
        measure: split and score.
        level: how often the interval misses.

    Returns:
        The second less the first, of the pairs' mean, over the items that count; None
        where these are fewer than two, a run has none, or the score is no mean of them.

    Raises:
        UserError: runs have different items; a file can't be read, or is of other
            parameters than the run's score.
    """
    split, score = measure
    if score not in SUMMED:
        return None
    kept = [[_read(run, measure) for run in pair] for pair in pairs]
    if not all(each and SUMMED[score] in each.items.sums for p in kept for each in p):
        return None
    first = kept[0][0]
    assert first is not None
    differences = []
    for runs, (a, b) in zip(pairs, kept, strict=True):
        assert a is not None and b is not None
        for run, each in zip(runs, (a, b), strict=True):
            _check_same(run.path, each, pairs[0][0].path, first)
        sums = (each.items.sums[SUMMED[score]] for each in (b, a))
        differences.append(np.subtract(*sums))
    weight = first.items.weight
    counts = weight > 0
    if counts.sum() < 2:  # no other items could have been drawn
        return None
    return bootstrap(np.mean(differences, axis=0)[counts], weight[counts], level)


def _read(run: Ended, measure: Measure) -> Kept | None:
    """The items of a run at its end.

    Raises:
        UserError: they don't make up its score.
    """
    split, score = measure
    kept = read_items(run.path, split, run.result["steps"])
    whole = run.figure(measure, run.result["policy"], "end")
    if kept is None or whole is None or SUMMED[score] not in kept.items.sums:
        return None
    if not np.isclose(kept.items.mean(score), whole.value, rtol=1e-3, atol=1e-4):
        raise UserError(
            f"{run.path}: its items at step {run.result['steps']} make up a {score} of "
            f"{kept.items.mean(score):.6g}, and its result says {whole.value:.6g}: "
            "they are of other parameters. Score it anew (`evaluate RUN --step K "
            "--items`)."
        )
    return kept


def _check_same(run: Path, each: Kept, other: Path, first: Kept) -> None:
    """Refuse items that are not the same.

    Raises:
        UserError: with what differs.
    """

    def told(kept: Kept) -> list[tuple[str, object]]:
        count = f"{len(kept.items.numbers)} items"
        return [("text", kept.text), ("windows", kept.policy), ("number", count)]

    for (what, a), (_, b) in zip(told(each), told(first), strict=True):
        if a != b:
            raise UserError(
                f"{run} and {other} have other items: the {what} is {a} here, {b} "
                "there. A difference over items is one on the same items."
            )
    if not _alike(each.items, first.items):
        raise UserError(
            f"{run} and {other} have other items: numbers or weights differ."
        )


def _alike(a: Items, b: Items) -> bool:
    return np.array_equal(a.numbers, b.numbers) and np.allclose(a.weight, b.weight)
