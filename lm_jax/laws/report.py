"""What a fitted law says: its runs, its numbers, the best use of a budget."""

import math
import textwrap
from collections.abc import Iterator

from lm_jax.laws.bootstrap import LEVEL, Bootstrap
from lm_jax.laws.budget import Cost, best_parameters, cost_of, growth
from lm_jax.laws.points import Point
from lm_jax.runs.figures import short

_NAMES = ("E", "A", "alpha", "B", "beta")


def lines(
    found: Bootstrap, points: list[Point], flops: float | None = None
) -> Iterator[str]:
    """The report for people, in lines of at most 80 columns.

    Args:
        found: a law and its resamples.
        points: the runs that it was fitted to.
        flops: a budget; if None, ten times the largest run's.
    """
    yield from _runs(found, points)
    level = f"{100 * LEVEL:g}%"
    yield f"L(N, D) = E + A / N^alpha + B / D^beta   {level} interval"
    for name in _NAMES:
        low, high = found.of(name)
        yield f"  {name:6} {getattr(found.law, name):12.6g}   {low:.4g} to {high:.4g}"
    edges = sum(bool(law.edges) for law in found.laws)
    many = len(found.laws)
    told = f"Intervals: of {many} fits to resampled residuals."
    if edges:
        told += f" {edges} of them lie at an edge (E = 0, say): the runs are few."
    yield from textwrap.wrap(told, 80)
    largest = max(point.flops for point in points)
    yield from _budget(found, cost_of(points), flops or 10 * largest, largest)
    yield from _notes(points)


def _runs(found: Bootstrap, points: list[Point]) -> Iterator[str]:
    """A row for each run: what it is, what it found, how far the law is from it."""
    corpus = points[0].result["corpus"]
    yield from textwrap.wrap(
        f"{len(points)} runs on {corpus}, validation loss at the end, nats a token", 80
    )
    head = f"  {'run':28} {'parameters':>10} {'tokens':>7} {'FLOPs':>8}   loss"
    yield f"{head}  law - loss"
    ordered = sorted(points, key=lambda point: (point.parameters, point.tokens))
    for point in ordered:
        name = "/".join(point.run.absolute().parts[-2:])
        less = found.law.loss(point.parameters, point.tokens) - point.loss
        yield (
            f"  {name[-28:]:28} {short(point.parameters):>10} "
            f"{short(point.tokens):>7} {point.flops:8.2g} {point.loss:.4f}  "
            f"{less:+10.4f}"
        )


def _budget(
    found: Bootstrap, cost: Cost, flops: float, largest: float
) -> Iterator[str]:
    """The best size for a budget, and how it grows."""
    size = best_parameters(found.law, cost, flops)
    tokens = cost.tokens(size, flops)
    low, high = found.interval(lambda law: best_parameters(law, cost, flops))
    few, many = sorted((cost.tokens(low, flops), cost.tokens(high, flops)))
    yield f"Best of {flops:.3g} FLOPs, {flops / largest:.3g} times the largest run's"
    yield f"  parameters  {short(size)}, {short(low)} to {_end(high)}"
    yield f"  tokens      {short(tokens)}, {short(few)} to {_end(many)}"
    yield "  loss        {:.4f}, {:.4f} to {:.4f}".format(
        found.law.loss(size, tokens), *found.loss(size, tokens)
    )
    yield "  parameters grow as FLOPs^{:.2f}, {:.2f} to {:.2f}".format(
        growth(found.law, cost), *found.interval(lambda law: growth(law, cost))
    )
    yield f"  FLOPs a token: {cost.factor:.3g} N^{cost.power:.3f}, the head's too"


def _end(count: float) -> str:
    """The upper end of an interval, which a law at an edge may not have."""
    return short(count) if math.isfinite(count) else "any number"


def _notes(points: list[Point]) -> Iterator[str]:
    """What a reader should know of the runs."""
    again = max(point.result.get("epochs", 0.0) for point in points)
    told = "It is a law of these recipes: a rate that suits one size alone bends it."
    if again > 1.01:
        told += (
            f" Texts were read up to {again:.1f} times, and the law takes each token "
            "for a new one."
        )
    yield from textwrap.wrap(told, 80)
