"""Whether the best learning rate stays where it is when the model is widened.

Shown by rate sweeps at three widths or more, all trained to the end of one budget
(Yang et al. 2022, figure 1); nothing is said of other lengths, batches or depths.
"""

import itertools
import math
import statistics
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lm_jax.ablation.plan_file import read_plan
from lm_jax.errors import UserError
from lm_jax.experiment import flatten
from lm_jax.laws.points import Point, check_alike, check_decayed, read_point, shared
from lm_jax.runs.result import has_ended
from lm_jax.runs.trials import PLAN

WIDTHS = 3
_RATES = 3
# What may go with the width or the rate; that all have decayed is checked.
_FREE = {"model.width", "schedule.peak", "model.heads", "model.head_dim"}
_FREE |= {"optimizer.rates", "schedule.final"}


@dataclass(frozen=True)
class Sweep:
    """Rates that one kind of model was trained with, over widths.

    Attributes:
        title: what tells it from others of its folder; "" where there are none.
        tokens: that each run was trained on.
        losses: of each width and rate, the mean over its seeds.
    """

    title: str
    tokens: int
    losses: dict[int, dict[float, float]]

    def best(self, width: int) -> float:
        """The best of the rates that were tried."""
        found = self.losses[width]
        return min(found, key=lambda rate: found[rate])

    def at_edge(self, width: int) -> bool:
        """Whether the best rate is the smallest or the largest that was tried."""
        return self.best(width) in (min(self.losses[width]), max(self.losses[width]))

    def optimum(self, width: int) -> float:
        """The lowest point of a parabola through the best rate and its neighbours.

        Over the logarithm of the rate; at an edge, the best that was tried.
        """
        if self.at_edge(width):
            return self.best(width)
        rates = sorted(self.losses[width])
        middle = rates.index(self.best(width))
        x = [math.log(rate) for rate in rates[middle - 1 : middle + 2]]
        y = [self.losses[width][rate] for rate in rates[middle - 1 : middle + 2]]
        left, right = (y[1] - y[0]) / (x[1] - x[0]), (y[2] - y[1]) / (x[2] - x[1])
        bend = (right - left) / (x[2] - x[0])
        if bend <= 0:  # all three are equal
            return rates[middle]
        return math.exp((x[0] + x[1]) / 2 - left / (2 * bend))

    def cost(self, width: int) -> float:
        """What the narrowest model's best rate costs a wider one, nats.

        Raises:
            KeyError: the rate was not tried there.
        """
        found = self.losses[width]
        return found[self.best(min(self.losses))] - found[self.best(width)]

    @property
    def moved(self) -> float:
        """How far the optimum moves from the narrowest to the widest: a factor."""
        return self.optimum(max(self.losses)) / self.optimum(min(self.losses))

    @property
    def step(self) -> float:
        """The largest factor between neighbouring rates: finer nothing is known."""
        rates = sorted(self.losses[min(self.losses)])
        return max(b / a for a, b in itertools.pairwise(rates))


def read_sweeps(folder: Path) -> list[Sweep]:
    """Read the rate sweeps of a folder that `sweep` filled.

    Raises:
        UserError: it is no sweep; a run is missing or not decayed; runs are scored
            otherwise or trained on other numbers of tokens; too few widths or rates.
    """
    path = folder / PLAN
    if not path.exists():
        raise UserError(
            f"{folder} has no {PLAN}: give the folder of a sweep, as in `sweep FILE "
            "--variants w64,w128,w256 --grid schedule.peak=1e-3,2e-3,4e-3`."
        )
    points = _ended([folder / cell for cell in read_plan(path)["cells"]])
    known = shared(points[0])
    for point in points:
        check_alike(known, str(points[0].run), point)
        check_decayed(point)
        _check_length(points[0], point)
    kinds: dict[tuple, list[Point]] = defaultdict(list)
    fields = [_fields(point) for point in points]
    names = dict.fromkeys(name for found in fields for name in found)
    varied = [n for n in names if len({found.get(n) for found in fields}) > 1]
    for point, found in zip(points, fields, strict=True):
        kinds[tuple(found.get(name) for name in varied)].append(point)
    return [
        _sweep(dict(zip(varied, kind, strict=True)), members)
        for kind, members in kinds.items()
    ]


def _ended(runs: list[Path]) -> list[Point]:
    """All runs of a sweep.

    Raises:
        UserError: some haven't ended.
    """
    missing = [run for run in runs if not has_ended(run)]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(runs)} runs have not ended ({missing[0]}): the "
            "best rate may be among them. Go on with the sweep first."
        )
    return [read_point(run) for run in runs]


def _check_length(one: Point, other: Point) -> None:
    """Refuse runs of other lengths, or with other batches.

    Raises:
        UserError: with both.
    """
    for what, a, b in (
        ("tokens", one.tokens, other.tokens),
        ("steps", one.result["steps"], other.result["steps"]),
    ):
        if abs(a - b) > 0.01 * a:
            raise UserError(
                f"{other.run} is trained on {b:,} {what}, {one.run} on {a:,}: the best "
                "rate depends on the length. Sweep each length by itself."
            )


def _fields(point: Point) -> dict[str, str]:
    """What tells kinds of model apart: all fields but those that go with the width."""
    found = flatten(point.experiment)
    return {
        name: value
        for name, value in found.items()
        if name.startswith(("model", "optimizer", "schedule", "average"))
        and name not in _FREE
    }


def _sweep(kind: dict[str, str | None], points: list[Point]) -> Sweep:
    """The losses of one kind of model.

    Raises:
        UserError: too few widths or rates.
    """
    title = ", ".join(f"{name} {value}" for name, value in kind.items() if value)
    found: dict[int, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for point in points:
        width, rate = point.experiment.model.width, point.experiment.schedule.peak
        found[width][rate].append(point.loss)
    of = f" of {title}" if title else ""
    if len(found) < WIDTHS:
        named = ", ".join(map(str, sorted(found)))
        raise UserError(
            f"To show transfer{of} {WIDTHS} widths are the least, all with the same "
            f"rates; here is {named}."
        )
    rates = {tuple(sorted(each)) for each in found.values()}
    if len(rates) > 1 or len(next(iter(rates))) < _RATES:
        raise UserError(
            f"All widths{of} need the same rates, {_RATES} at the least: the narrowest "
            f"has {', '.join(f'{rate:g}' for rate in sorted(found[min(found)]))}."
        )
    losses = {
        width: {rate: statistics.fmean(each) for rate, each in sorted(by.items())}
        for width, by in sorted(found.items())
    }
    return Sweep(title, points[0].tokens, losses)


def lines(sweep: Sweep) -> Iterator[str]:
    """A sweep for people: losses, the best rate of each width, and what follows."""
    rates = sorted(sweep.losses[min(sweep.losses)])
    if sweep.title:
        yield sweep.title
    yield f"  {'width':>6}  {'best rate':>9}  {'loss':>7}  narrowest's rate costs"
    for width in sweep.losses:
        edge = "  (at the edge of the rates)" if sweep.at_edge(width) else ""
        loss = sweep.losses[width][sweep.best(width)]
        yield (
            f"  {width:6}  {sweep.optimum(width):9.3g}  {loss:7.4f}  "
            f"{sweep.cost(width):+.4f}{edge}"
        )
    tried = f"{rates[0]:g} to {rates[-1]:g}, a factor of {sweep.step:.3g} apart"
    yield f"  Rates tried: {tried}; each run on {sweep.tokens:,} tokens."
    yield f"  {verdict(sweep)}"


def verdict(sweep: Sweep) -> str:
    """Whether the optimum moves, as far as the rates that were tried can tell."""
    widths = list(sweep.losses)
    if edges := [str(width) for width in widths if sweep.at_edge(width)]:
        return (
            f"No verdict: the best rate of width {', '.join(edges)} is at the edge of "
            "the rates. Try further ones."
        )
    found = [sweep.optimum(width) for width in widths]
    apart = max(found) / min(found)
    moved = f"from {widths[0]} to {widths[-1]} by a factor of {sweep.moved:.3g}"
    if apart > sweep.step:
        return f"The optimum moves, {moved}: the rate does not transfer."
    return (
        f"The optimum stays within a step of the rates ({moved}): at this length the "
        "rate transfers. Other lengths are untested."
    )
