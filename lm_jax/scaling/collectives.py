"""What devices send to each other: gathered, reduced and exchanged arrays."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

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

Group = tuple[int, ...]
# Of what goes between slices, each slice's program says only that it leaves.
NETWORK: Group = ()


class Route(NamedTuple):
    """Which devices exchange something, and how.

    Attributes:
        kind: of `KINDS`.
        group: the first of the groups that do it side by side, by the devices' places
            in the mesh; `NETWORK` is one device of every slice.
    """

    kind: str
    group: Group


class Collective(NamedTuple):
    """One that runs.

    Attributes:
        route: of what is sent.
        channel: a name; one that runs while others compute stands in several fusions,
            its start, they, and its end, and all name the same.
        size: bytes of the array before it is parted, or after it is put together; of
            one over the network, of what a device hands to it.
    """

    route: Route
    channel: str
    size: float


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
    if leaving := _over_network(within, each):
        yield leaving
    for found in inside.values() if inside else [each]:
        kind = kind_of(found)
        if kind is None:
            continue
        readers = [reader for reader in held.values() if found.name in reader.operands]
        if inside and kind == "all-reduce" and _all_slice(readers):
            kind = "reduce-scatter"
        channel = found.said(r"channel_id=(\d+)") or found.name
        route = Route(kind, _group(program, found))
        if len(route.group) > 1:
            yield Collective(route, channel, _size(held, found))


def _over_network(within: Computation, each: Instruction) -> Collective | None:
    """Find what an instruction hands to other slices, as the compiler of TPUs says."""
    if each.op != "send":
        return None
    kind = each.said(r'_xla_megascale_transfer_type="(\w+)"')
    if kind is None:
        return None
    channel = each.said(r'_xla_host_transfer_rendezvous="([^"]*)"') or each.name
    size = sum(array.bytes for array in within[each.operands[0]].results)
    return Collective(Route(kind.lower().replace("_", "-"), NETWORK), channel, size)


def _all_slice(readers: list[Instruction]) -> bool:
    return bool(readers) and all(each.op == "dynamic-slice" for each in readers)


def _size(within: Computation, each: Instruction) -> float:
    """The bytes of the array before it is parted, or after it is put together."""
    taken = sum(array.bytes for o in each.operands for array in within[o].results)
    given = sum(array.bytes for array in each.results)
    if each.op == "all-reduce":  # it may round its operands before it sends them
        return given
    if each.op.endswith("-start"):  # what it took is part of what it gives
        given -= taken
    return max(taken, given)


def share(kind: str, ways: int) -> float:
    """How much of an array each of several devices sends, at the least.

    Rings, as in Thakur et al. 2005, "Optimization of Collective Communication
    Operations in MPICH": all-reduce is a reduce-scatter and an all-gather.
    """
    if kind in ("collective-permute", "collective-broadcast"):
        return 1.0
    return (2 if kind == "all-reduce" else 1) * (ways - 1) / ways


def _group(program: Program, each: Instruction) -> Group:
    """Give the first group of devices that take part."""
    if pairs := each.said(r"source_target_pairs=\{(\{[\d,{} ]*\})\}"):
        return _ring({int(a): int(b) for a, b in re.findall(r"(\d+),\s*(\d+)", pairs)})
    sizes = each.said(r"replica_groups=mesh\[([^\]]*)\]")
    if sizes is not None:
        axes = each.said(r"replica_groups=mesh\[[^\]]*\] ?\{([^}]*)\}") or ""
        return _of_mesh(sizes, axes)
    iota = re.search(
        r"replica_groups=\[\d+,(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?",
        each.attributes,
    )
    if iota is not None:
        shape = _numbers(iota[2])
        order = _numbers(iota[3]) if iota[3] else range(len(shape))
        ids = np.arange(np.prod(shape)).reshape(shape).transpose(*order)
        return tuple(ids.ravel()[: int(iota[1])].tolist())
    listed = each.said(r"replica_groups=\{\{([\d, ]+)\}")
    return tuple(_numbers(listed) if listed else range(program.devices))


def _numbers(words: str) -> list[int]:
    return [int(word) for word in words.split(",")]


def _ring(following: dict[int, int]) -> Group:
    """The devices that an array visits, sent on again and again from the first."""
    first = min(following)
    found, place = [first], following[first]
    while place in following and place not in found:
        found.append(place)
        place = following[place]
    return tuple(found if place in found else [*found, place])


def _of_mesh(sizes: str, axes: str) -> Group:
    """The devices along some axes of a mesh, or along parts of these: 'fsdp':(2)4."""
    mesh = {axis: int(size) for axis, size in re.findall(r"'([^']+)'=(\d+)", sizes)}
    ids = np.arange(np.prod(list(mesh.values()))).reshape(list(mesh.values()))
    places: list[int | slice] = [0] * len(mesh)
    for axis, before, size in re.findall(r"'([^']+)'(?::\((\d+)\)(\d+))?", axes):
        whole = mesh[axis]
        step = whole // (int(before) * int(size)) if size else 1
        many = int(size) if size else whole
        places[list(mesh).index(axis)] = slice(0, step * many, step)
    return tuple(ids[tuple(places)].ravel().tolist())
