"""Weak scaling: what a step computes and sends where each further chip has its rows.

To 4096 chips by formula. All that a chip computes and holds stays as it is on the
largest topology that was compiled. What chips send each other inside a slice does so
too, but for the part that stays at home, 1/n of n chips. Slices beyond the largest that
there is sum gradients over the data centre's network, once a step and in float32: each
chip those of the parameters that it holds.
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
from lm_jax.scaling.plan import Plan
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
        memory: bytes that a chip holds.
        tokens: of a step, on all chips.
        by: "compiled", or "formula".
    """

    chips: int
    computing: float
    inside: float
    network: float
    memory: int
    tokens: int
    by: str

    @property
    def sending(self) -> float:
        """Seconds over all links, one after the other."""
        return self.inside + self.network


@dataclass(frozen=True)
class Weak:
    """How a step grows with its devices.

    Attributes:
        points: from few to many chips.
        room: bytes of memory of a chip.
        rate: FLOPs that a chip makes at most, a second.
        flops: of a step, by the model's own count, on one chip.
    """

    points: tuple[Point, ...]
    room: int
    rate: float
    flops: float

    @classmethod
    def of(cls, plans: Sequence[Plan]) -> "Weak":
        """Take what was compiled, and go on by formula."""
        chip = only_chip([each.topology for each in plans])
        compiled = sorted(map(_compiled, plans))
        last = max(plans, key=lambda each: len(each.topology.devices))
        more = [_further(last, n) for n in BY_FORMULA if n > compiled[-1].chips]
        found = tuple(compiled + more)
        return cls(found, chip.usable, chip.flops, last.model_flops)

    def utilization(self, point: Point) -> float:
        """MFU where nothing is sent while others compute."""
        return self.flops / (self.rate * (point.computing + point.sending))

    def breaks(self) -> str:
        """What breaks first as chips are added, in words."""
        for point in self.points:
            if point.memory > self.room:
                return f"memory: it doesn't fit on {point.chips:,} chips."
            for name, seconds in (("ICI", point.inside), (DCN, point.network)):
                if seconds > point.computing:
                    return (
                        f"{name}: on {point.chips:,} chips it takes {time(seconds)}, "
                        f"and computing {time(point.computing)}: sending can't be "
                        "hidden behind it."
                    )
        last = self.points[-1]
        name = DCN if last.network > last.inside else "ICI"
        return (
            f"nothing up to {last.chips:,} chips. What comes nearest is {name}, "
            f"{max(last.inside, last.network) / last.computing:.0%} of what computing "
            f"takes; a step is {count(last.tokens)} tokens by then."
        )


def _compiled(made: Plan) -> Point:
    network = made.seconds().get(DCN, 0.0)
    return Point(
        len(made.topology.devices),
        made.cost.seconds,
        made.sending - network,
        network,
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
    parted = had / slice_ if made.links.axes["fsdp"] > 1 else 1.0
    sent = made.gradients * parted * share("all-reduce", slices)
    return here._replace(
        chips=chips,
        inside=inside,
        network=sent / chip.network,
        tokens=made.tokens * chips // had,
        by=FORMULA,
    )


def weak_lines(found: Weak) -> list[str]:
    """The lines of a table, a row for each number of chips, and what breaks first."""
    head = ["chips", "GiB", "tokens", "computing", "ICI", DCN, "MFU", "by"]
    cells = [head]
    for point in found.points:
        seconds = (point.computing, point.inside, point.network)
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


def draw_weak(found: Weak, out: Path) -> None:
    """Draw seconds of computing and sending by chips, as PNG.

    Raises:
        UserError: `out` can't be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    axes, points = figure.subplots(), found.points
    _draw(axes, COLOURS[0], "computing", [(p, p.computing) for p in points])
    _draw(axes, COLOURS[1], "ICI: inside a slice", [(p, p.inside) for p in points])
    _draw(axes, COLOURS[2], f"{DCN}: between slices", [(p, p.network) for p in points])
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
