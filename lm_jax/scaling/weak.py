"""Weak scaling: what a step computes and sends where each further chip has its rows.

To 4096 chips by formula. All that a chip computes and holds stays as it is on the
largest topology that was compiled, and so does what goes between a chip and its host.
What chips send each other inside a slice does so too, but for the part that stays at
home, 1/n of n chips. Slices beyond the largest that there is sum gradients over the
data centre's network, whatever the mesh inside them: there each of n chips first has
the sums of 1/n of them, and hands over those. They go in the type to compute in, and as
often as they are taken: once for each part that a batch is computed in. So does the
compiled step of two slices, with parameters that are whole or split, over any axis.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lm_jax.chips import Chip
from lm_jax.errors import UserError
from lm_jax.runs.overlay import COLOURS
from lm_jax.runs.picture import framed, save
from lm_jax.scaling.collectives import share
from lm_jax.scaling.links import DCN
from lm_jax.scaling.plan import PCIE, Plan
from lm_jax.scaling.side_by_side import count, time
from lm_jax.scaling.topology import Topology

BY_FORMULA = (1024, 4096)
COMPILED, FORMULA = "compiled", "formula"


def only_chip(topologies: Sequence[Topology]) -> Chip:
    """The chip that topologies are of, one slice each.

    Raises:
        UserError: they are of several kinds, or no figures are known, or of several
            slices, or of one chip.
    """
    chip = topologies[0].chip
    if chip is None or len({each.chip for each in topologies}) > 1:
        raise UserError(
            "--scaling needs topologies of one chip whose figures are known."
        )
    if max(each.slices for each in topologies) > 1:
        raise UserError("--scaling adds slices by formula: leave --slices out.")
    if max(len(each.devices) for each in topologies) < 2:
        raise UserError(
            "--scaling goes on from what chips send each other, and one chip sends "
            "nothing. Give a topology of two or more."
        )
    return chip


class Point(NamedTuple):
    """A step on so many chips, seconds at the least.

    Attributes:
        chips: how many.
        computing: seconds, and of reading and writing memory.
        inside: seconds of sending inside a slice.
        network: seconds of sending between slices.
        fetching: seconds between a chip and its host.
        memory: bytes that a chip holds.
        tokens: of a step, on all chips.
        by: "compiled", or "formula".
    """

    chips: int
    computing: float
    inside: float
    network: float
    fetching: float
    memory: int
    tokens: int
    by: str

    @property
    def step(self) -> float:
        """Seconds of it all, one after the other."""
        return self.computing + self.inside + self.network + self.fetching


@dataclass(frozen=True)
class Weak:
    """How a step grows with its devices.

    Attributes:
        points: from few to many chips.
        chip: what each can do.
        flops: of a step, by the model's own count, on one chip.
    """

    points: tuple[Point, ...]
    chip: Chip
    flops: float

    @classmethod
    def of(cls, plans: Sequence[Plan]) -> "Weak":
        """Take what was compiled, and go on by formula."""
        chip = only_chip([each.topology for each in plans])
        compiled = sorted(map(_compiled, plans))
        last = max(plans, key=lambda each: len(each.topology.devices))
        more = [_further(last, n) for n in BY_FORMULA if n > compiled[-1].chips]
        found = tuple(compiled + more)
        return cls(found, chip, last.model_flops)

    def utilization(self, point: Point) -> float:
        """MFU where nothing is sent while others compute."""
        return self.flops / (self.chip.flops * point.step)

    def links(self, point: Point) -> dict[str, float]:
        """Seconds of each kind of link."""
        found = {self.chip.wire: point.inside, DCN: point.network}
        away = any(each.fetching for each in self.points)
        return found | ({PCIE: point.fetching} if away else {})

    def breaks(self) -> str:
        """What breaks first as chips are added, in words."""
        for point in self.points:
            if point.memory > self.chip.usable:
                return f"memory: it doesn't fit on {point.chips:,} chips."
            for name, seconds in self.links(point).items():
                if seconds > point.computing:
                    return (
                        f"{name}: on {point.chips:,} chips it takes {time(seconds)}, "
                        f"and computing {time(point.computing)}: sending can't be "
                        "hidden behind it."
                    )
        last = self.points[-1]
        links = self.links(last)
        name = max(links, key=lambda each: links[each])
        return (
            f"nothing up to {last.chips:,} chips. What comes nearest is {name}, "
            f"{links[name] / last.computing:.0%} of what computing takes; a step is "
            f"{count(last.tokens)} tokens by then."
        )


def _compiled(made: Plan) -> Point:
    network = made.seconds().get(DCN, 0.0)
    return Point(
        len(made.topology.devices),
        made.cost.seconds,
        made.sending - network - made.fetching,
        network,
        made.fetching,
        made.memory,
        made.tokens,
        COMPILED,
    )


def _further(made: Plan, chips: int) -> Point:
    """A point by formula, from the largest topology that was compiled."""
    chip, had = made.topology.chip, len(made.topology.devices)
    assert chip is not None
    here, slice_ = _compiled(made), min(chips, max(had, chip.largest))
    slices = chips // slice_
    # A ring of n sends all but 1/n of it.
    inside = here.inside * share("all-gather", slice_) / share("all-gather", had)
    sent = made.gradients / slice_ * share("all-reduce", slices)
    return here._replace(
        chips=chips,
        inside=inside,
        network=sent / chip.network,
        tokens=made.tokens * chips // had,
        by=FORMULA,
    )


def weak_lines(found: Weak) -> list[str]:
    """The lines of a table, a row for each number of chips, and what breaks first."""
    links = found.links(found.points[0])
    cells = [["chips", "GiB", "tokens", "computing", *links, "MFU", "by"]]
    for point in found.points:
        seconds = (point.computing, *found.links(point).values())
        cells.append(
            [
                f"{point.chips:,}",
                f"{point.memory / 2**30:.3g}",
                count(point.tokens),
                *(time(each) if each else "-" for each in seconds),
                f"{found.utilization(point):.0%}",
                point.by,
            ]
        )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rows = [
        "   ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in cells
    ]
    return [*(f" {row}" for row in rows), f"What breaks first: {found.breaks()}"]


_MEANT = {DCN: ": between slices", PCIE: ": to the host"}


def draw_weak(found: Weak, out: Path) -> None:
    """Draw seconds of computing and sending by chips, as PNG.

    Raises:
        UserError: `out` can't be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    axes, points = figure.subplots(), found.points
    _draw(axes, COLOURS[0], "computing", [(p, p.computing) for p in points])
    for place, link in enumerate(found.links(points[0])):
        named = f"{link}{_MEANT.get(link, ': inside a slice')}"
        seconds = [(p, found.links(p)[link]) for p in points]
        _draw(axes, COLOURS[1 + place], named, seconds)
    chips = [point.chips for point in points]
    axes.set_xscale("log", base=2)
    axes.set_xticks(chips, [f"{each:,}" for each in chips])
    axes.set_yscale("log")
    axes.set_xlabel("chips, each with as many rows (filled: compiled; else by formula)")
    axes.set_ylabel("seconds of a step, each alone")
    axes.legend(frameon=False, fontsize=8)
    framed(axes)
    save(figure, out)


def _draw(axes: Any, colour: str, name: str, found: list[tuple[Point, float]]) -> None:
    """One curve, dashed from the last point that was compiled on."""
    known = [(p.chips, seconds, p.by == COMPILED) for p, seconds in found if seconds]
    if not known:
        return
    chips, seconds, compiled = zip(*known, strict=True)
    many = sum(compiled)
    axes.plot(chips[:many], seconds[:many], "-", color=colour)
    rest = slice(max(0, many - 1), None)
    axes.plot(chips[rest], seconds[rest], "--", color=colour)
    axes.plot(chips[many:], seconds[many:], "o", color=colour, mfc="white")
    axes.plot(chips[:many], seconds[:many], "o", color=colour)
    axes.plot([], [], "o-", color=colour, label=name)
