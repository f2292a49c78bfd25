"""Several ways to compute a step beside each other, the best first."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lm_jax.errors import UserError, nearest
from lm_jax.scaling.plan import Plan
from lm_jax.sharding import MESH, Sharding

_GIB = 2**30


@dataclass(frozen=True)
class Case:
    """One of several ways to compute a step, and what was planned of it.

    Attributes:
        topology: the devices, by name.
        mesh: of them: "2 data x 8 fsdp".
        remat: what is computed again.
        plan: of it; None where it is too large, or failed.
        why: it is too large.
        failed: why there are no figures, or none that can be.
    """

    topology: str
    mesh: str
    remat: str
    plan: Plan | None = None
    why: str = ""
    failed: str = ""

    @property
    def rank(self) -> tuple[int, float, int]:
        """Less is better: what fits, then what takes fewer seconds."""
        if self.plan is None:
            return 3 if self.failed else 2, 0.0, 0
        return int(not self.plan.fits), self.plan.step, self.plan.memory


def meshes(asked: Sequence[str], sharding: Sharding) -> list[Sharding]:
    """Read meshes as they are typed: "data=2,fsdp=8".

    Args:
        asked: each of them, in which one device stands along an axis that isn't named,
            and all that are left along data. None asks for the mesh that there is.
        sharding: that says all else.

    Raises:
        UserError: one names no axis, or no number.
    """
    return [_mesh(each, sharding) for each in asked] or [sharding]


def _mesh(asked: str, sharding: Sharding) -> Sharding:
    sizes: dict[str, Any] = dict.fromkeys(MESH, 1) | {"data": -1}
    for part in asked.split(","):
        axis, _, size = part.partition("=")
        if axis not in MESH:
            raise UserError(
                f"--mesh {asked}: '{axis}' is no axis.{nearest(axis, MESH)}"
            )
        if not size.removeprefix("-").isdigit():
            raise UserError(
                f"--mesh {asked}: '{part}' says not how many devices stand along "
                f"{axis}. A mesh is typed as data=2,fsdp=8."
            )
        sizes[axis] = int(size)
    return replace(sharding, **sizes)


_HEAD = ["GiB", "of", "step", "MFU", "tokens/s", "binds"]
_COLUMNS = 78


def table(cases: Sequence[Case]) -> list[str]:
    """The lines of a table of cases, in their order: of their names, what differs."""
    words = [(case.topology, case.mesh, case.remat) for case in cases]
    differ = [len(set(column)) > 1 for column in zip(*words, strict=True)]
    names = [
        ", ".join(w for w, d in zip(row, differ, strict=True) if d) for row in words
    ]
    cells = [_HEAD, *map(_figures, cases)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [_line(row, widths) for row in cells]
    room = max(map(len, names))
    marks = f"{'compiled':>{widths[0]}}{'estimated':>{sum(widths[1:4]) + 6}}"
    if room + 2 + max(map(len, lines)) > _COLUMNS:  # names on lines of their own
        figures = [part for pair in zip(names, lines[1:], strict=True) for part in pair]
        return [lines[0], marks, *figures]
    beside = ["", *names]
    found = [f"{n:<{room}}  {f}" for n, f in zip(beside, lines, strict=True)]
    return [found[0], f"{'':<{room}}  {marks}", *found[1:]]


def _figures(case: Case) -> list[str]:
    """The figures of a case: "!" is too large for a chip, "<" lacks some operations."""
    made = case.plan
    if made is None:
        return ["failed" if case.failed else "too large", *[""] * 5]
    chip, held = made.topology.chip, f"{made.memory / _GIB:.3g}"
    if chip is None:
        return [held, *["-"] * 4, ""]
    room = f"{chip.usable / _GIB:.3g}{'' if made.fits else '!'}"
    share = f"{'<' if made.cost.uncounted else ''}{made.utilization:.0%}"
    rate = count(made.tokens / made.step)
    return [held, room, time(made.step), share, rate, made.binds]


def _line(cells: list[str], widths: list[int]) -> str:
    """Figures below each other, to the right; the last is a word."""
    figures = zip(cells[:-1], widths, strict=False)
    return "  ".join([*(c.rjust(w) for c, w in figures), cells[-1]]).rstrip()


def rows(made: Plan) -> list[tuple[str, str]]:
    """All that is known of a plan, as names and values."""
    cost, chip = made.cost, made.topology.chip
    room = f" of {size(chip.usable)}" if chip else ""
    short = "" if made.fits else ", too large"
    found = [
        (
            "memory",
            f"{size(made.memory)}{room}{short}: {size(made.arguments)} of "
            f"arguments, {size(made.temporaries)} of temporaries",
        ),
        (
            "FLOPs",
            f"{count(cost.flops)}, {cost.flops / made.model_flops:.2f} times the "
            f"model's own {count(made.model_flops)}",
        ),
        ("bytes", size(cost.bytes)),
    ]
    if made.host:
        takes = f", {time(made.fetching)} on PCIe" if chip else ""
        found.append(
            ("host", f"{size(made.host)} held, {size(cost.host)} moved{takes}")
        )
    for each in made.traffic():
        takes = f", {time(each.seconds)} on {each.link}" if chip else ""
        found.append(
            (
                each.kind,
                f"{each.calls:,} along {each.axis}, {size(each.size)} in all, "
                f"{size(each.sent)} sent{takes}",
            )
        )
    if calls := cost.collectives.total():
        said = f"{cost.meanwhile:,} of {calls:,} run while it computes"
        found.append(("overlap", said))
    for name, calls in cost.uncounted.items():
        found.append(("uncounted", f"FLOPs of {name}, {calls:,} times"))
    if chip is None:
        found.append(("seconds", "none: no figures of this device are known"))
    else:
        found += _seconds(made)
    return found + [("note", note) for note in made.notes]


def _seconds(made: Plan) -> list[tuple[str, str]]:
    each = ", ".join(f"{part} {time(value)}" for part, value in made.seconds().items())
    return [
        (
            "seconds",
            f"{time(made.step)}, {time(made.sending)} of it sending; "
            f"{time(made.overlapped)} if all is sent meanwhile",
        ),
        ("each alone", f"{each}: {made.binds} binds"),
        (
            "MFU",
            f"{made.utilization:.1%}, {count(made.tokens / made.step)} tokens a second",
        ),
    ]


def as_json(case: Case) -> dict[str, Any]:
    """All that is known of a case, for other programs."""
    said = {"topology": case.topology, "mesh": case.mesh, "remat": case.remat}
    made = case.plan
    if case.failed:
        return said | {"fits": None, "failed": case.failed}
    if made is None:
        return said | {"fits": False, "why": case.why}
    chip, known = made.topology.chip, made.topology.chip is not None
    return said | {
        "devices": len(made.topology.devices),
        "fits": made.fits,
        "compiled": {
            "arguments": made.arguments,
            "temporaries": made.temporaries,
            "flops": made.cost.flops,
            "bytes": made.cost.bytes,
            "host": {"held": made.host, "moved": made.cost.host},
            "collectives": [
                {
                    "kind": each.kind,
                    "axis": each.axis,
                    "link": each.link,
                    "calls": each.calls,
                    "bytes": each.size,
                }
                for each in made.traffic()
            ],
            "meanwhile": made.cost.meanwhile,
            "uncounted": dict(made.cost.uncounted),
        },
        "counted": {"model_flops": made.model_flops, "tokens": made.tokens},
        "estimated": {
            "seconds": made.step,
            "overlapped": made.overlapped,
            "without_kernels_and_links": made.cost.seconds - made.cost.kernels,
            "alone": made.seconds(),
            "sent": {f"{each.kind} {each.axis}": each.sent for each in made.traffic()},
            "mfu": made.utilization,
            "tokens_per_second": made.tokens / made.step,
            "binds": made.binds,
        }
        if known
        else None,
        "published": {"memory": chip.memory, "flops": chip.flops} if chip else None,
        "notes": list(made.notes),
    }


def _scaled(value: float | int, base: int, units: str) -> str:
    """A number with the unit that leaves it 1 or more."""
    for unit in units.split(","):
        if value < base or unit == units.split(",")[-1]:
            break
        value /= base
    digits = ".0f" if value >= 1000 else ".3g"
    return f"{value:,{digits}} {unit}".rstrip()


def size(bytes_: float | int) -> str:
    """Bytes: 4.49 GiB."""
    return _scaled(bytes_, 1024, "B,KiB,MiB,GiB,TiB")


def count(number: float | int) -> str:
    """A number: 151 T."""
    return _scaled(number, 1000, ",k,M,G,T,P")


def time(seconds: float) -> str:
    """Seconds: 934 ms."""
    return _scaled(seconds * 1e6, 1000, "us,ms,s")
