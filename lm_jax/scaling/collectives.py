"""What devices send to each other: gathered, reduced and exchanged arrays."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from lm_jax.scaling.hlo import Computation, Instruction, Program, fused

KINDS = (
    "all-gather",
    "all-reduce",
    "all-to-all",
    "collective-broadcast",
    "collective-permute",
    "ragged-all-to-all",
    "reduce-scatter",
)


class Collective(NamedTuple):
    """One that runs.

    Attributes:
        kind: of `KINDS`.
        channel: a name; one that runs while others compute stands in several fusions,
            its start, they, and its end, and all name the same.
        size: bytes of the array before it is parted, or after it is put together.
        sent: bytes that each device sends, at the least.
    """

    kind: str
    channel: str
    size: float
    sent: float


def kind_of(each: Instruction) -> str | None:
    """Name the kind of collective that an instruction is."""
    op = each.op.removesuffix("-start")
    return op if op in KINDS else None


def collectives(
    program: Program, within: Computation, each: Instruction
) -> Iterator[Collective]:
    """Find the collective that an instruction is, or those that are fused into it.

    Args:
        program: it is of.
        within: the computation that it stands in.
        each: the instruction.
    """
    inside = fused(program, each)
    held = inside or within
    for found in inside.values() if inside else [each]:
        kind = kind_of(found)
        if kind is None:
            continue
        readers = [reader for reader in held.values() if found.name in reader.operands]
        if inside and kind == "all-reduce" and _all_slice(readers):
            kind = "reduce-scatter"
        size, ways = _size(held, found), _ways(program, found)
        channel = found.said(r"channel_id=(\d+)") or found.name
        yield Collective(kind, channel, size, size * _share(kind, ways))


def _all_slice(readers: list[Instruction]) -> bool:
    return bool(readers) and all(each.op == "dynamic-slice" for each in readers)


def _size(within: Computation, each: Instruction) -> float:
    """The bytes of the array before it is parted, or after it is put together."""
    taken = sum(array.bytes for o in each.operands for array in within[o].results)
    given = sum(array.bytes for array in each.results)
    if each.op.endswith("-start"):  # what it took is part of what it gives
        given -= taken
    return max(taken, given)


def _share(kind: str, ways: int) -> float:
    """How much of an array each of several devices sends, at the least.

    Rings, as in Thakur et al. 2005, "Optimization of Collective Communication
    Operations in MPICH": all-reduce is a reduce-scatter and an all-gather.
    """
    if kind in ("collective-permute", "collective-broadcast"):
        return 1.0
    return (2 if kind == "all-reduce" else 1) * (ways - 1) / ways


def _ways(program: Program, each: Instruction) -> int:
    """How many devices take part, in each group."""
    mesh = each.said(r"replica_groups=mesh\[([^\]]*)\]")
    if mesh is not None:
        sizes = {axis: int(n) for axis, n in re.findall(r"'([^']+)'=(\d+)", mesh)}
        axes = each.said(r"replica_groups=mesh\[[^\]]*\] ?\{([^}]*)\}") or ""
        parts = re.findall(r"'([^']+)'(?::\(\d+\)(\d+))?", axes)
        return math.prod(int(part) if part else sizes[axis] for axis, part in parts)
    groups = each.said(r"replica_groups=\[\d+,(\d+)\]")
    if groups is not None:
        return int(groups)
    group = each.said(r"replica_groups=\{\{([\d, ]+)\}")
    return len(group.split(",")) if group else program.devices
