"""A compiled program's text (XLA's HLO) as computations of instructions."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple


class Array(NamedTuple):
    """An array as the text has it.

    Attributes:
        kind: its type: "bf16", "f32", "pred".
        dims: its axes.
        near: whether it lies in a memory beside the chip's large one, for a TPU to
            compute from: what is read and written there costs nothing here.
        away: whether it lies in the memory of the host.
    """

    kind: str
    dims: tuple[int, ...]
    near: bool
    away: bool = False

    @property
    def bytes(self) -> float:
        """How large it is."""
        bits = re.search(r"\d+", self.kind)
        return math.prod(self.dims) * (int(bits[0]) / 8 if bits else _WIDTHS[self.kind])


_HOST = "5"  # what XLA numbers its memory
_WIDTHS = {"pred": 1.0, "token": 0.0, "opaque": 0.0}
_ARRAY = re.compile(r"\b(pred|token|opaque|[a-z]+\d\w*)\[([\d,]*)\](\{[^{}]*\})?")


class Instruction(NamedTuple):
    """One line of a computation: ``name = results op(operands), attributes``.

    Attributes:
        name, op: of it.
        results: the arrays that it gives.
        operands: names of the instructions that it reads, in order.
        inside: what stands in its parentheses: a constant's value, a parameter's place.
        attributes: all that follows.
        root: whether the computation's result is its own.
    """

    name: str
    op: str
    results: tuple[Array, ...]
    operands: tuple[str, ...]
    inside: str
    attributes: str
    root: bool

    def called(self, *names: str) -> list[str]:
        """Give the computations that some attributes name."""
        found: list[str] = []
        for name in names:
            said = re.search(rf"\b{name}=\{{?((?:, ?|%[\w.\-]+)+)", self.attributes)
            found += re.findall(r"%([\w.\-]+)", said[1]) if said else []
        return found

    def said(self, pattern: str) -> str | None:
        """Give the first group of an expression, where the attributes have it."""
        found = re.search(pattern, self.attributes)
        return found[1] if found else None


Computation = dict[str, Instruction]


class Program(NamedTuple):
    """Computations by their names, the one that begins, and on how many devices."""

    computations: dict[str, Computation]
    entry: str
    devices: int


_BEGIN = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\{$")
_LINE = re.compile(r"\s+(ROOT )?%?([\w.\-]+) = (.*)", re.DOTALL)
_CALL = re.compile(r"(\(.*?\)|\S+) ([a-z][\w\-]*)\((.*)", re.DOTALL)


def parse(text: str) -> Program:
    """Read a program: what ``compiled.as_text()`` gives."""
    computations: dict[str, Computation] = {}
    entry, current = "", None
    for line in _whole_lines(text):
        if begin := _BEGIN.match(line):
            current = computations[begin[2]] = {}
            entry = begin[2] if begin[1] else entry
        elif current is not None and (found := _instruction(line)):
            current[found.name] = found
    devices = re.search(r"num_partitions=(\d+)", text)
    return Program(computations, entry, int(devices[1]) if devices else 1)


def _whole_lines(text: str) -> Iterator[str]:
    """Lines, those put together that are one: attributes may have line breaks."""
    held = ""
    for line in text.splitlines():
        if _LINE.match(line) or _BEGIN.match(line) or line == "}":
            yield held
            held = line
        else:
            held += line
    yield held


def _instruction(line: str) -> Instruction | None:
    found = _LINE.match(line)
    call = _CALL.match(found[3]) if found else None
    if found is None or call is None:
        return None
    inside, attributes = _parted(call[3])
    return Instruction(
        name=found[2],
        op=call[2],
        results=tuple(_arrays(call[1])),
        operands=tuple(re.findall(r"%([\w.\-]+)", inside)),
        inside=inside,
        attributes=attributes,
        root=bool(found[1]),
    )


def _parted(rest: str) -> tuple[str, str]:
    """What stands before the parenthesis that closes a call, and what after it."""
    depth = 1
    for found in re.finditer(r"[()]", rest):
        depth += 1 if found[0] == "(" else -1
        if depth == 0:
            return rest[: found.start()], rest[found.end() :]
    return rest, ""


def _arrays(shape: str) -> Iterator[Array]:
    for kind, dims, layout in _ARRAY.findall(shape):
        sizes = tuple(int(size) for size in dims.split(",") if size)
        found = re.search(r"S\(([1-9])", layout)
        place = found[1] if found else ""
        away = place == _HOST
        yield Array(kind, sizes, bool(place) and not away, away)


def trips(program: Program, within: Computation, loop: Instruction) -> int | None:
    """How often a loop's body runs; None where the text doesn't tell.

    Args:
        program: the loop is of.
        within: the computation that it stands in.
        loop: an instruction "while".
    """
    known = loop.said(r'known_trip_count":\{"n":"(\d+)"')
    if known:
        return int(known)
    (condition,) = (program.computations[c] for c in loop.called("condition"))
    (body,) = (program.computations[c] for c in loop.called("body"))
    end = root(condition)
    if end.op != "compare" or end.said(r"direction=(\w+)") != "LT":
        return None
    counter, limit = (condition[name] for name in end.operands)
    place = counter.said(r"index=(\d+)")
    stop = _constant(condition, limit.name)
    if place is None or stop is None:
        return None
    first = _constant(within, within[loop.operands[0]].operands[int(place)])
    after = _made(body, root(body).operands[int(place)])
    steps = [_constant(body, name) for name in after.operands]
    step = next((each for each in steps if each), None)
    if first is None or after.op != "add" or step is None:
        return None
    return max(0, math.ceil((stop - first) / step))


def fused(program: Program, each: Instruction) -> Computation:
    """The instructions of a fusion; none, if it is none."""
    if each.op != "fusion":
        return {}
    (name,) = each.called("calls")
    return program.computations[name]


def root(computation: Computation) -> Instruction:
    """The instruction whose result is the computation's."""
    return next(each for each in computation.values() if each.root)


def _made(computation: Computation, name: str) -> Instruction:
    """The instruction that makes a value, which others copy."""
    found = computation[name]
    while found.op in ("copy", "bitcast", "convert") and found.operands:
        found = computation[found.operands[0]]
    return found


def _constant(computation: Computation, name: str) -> int | None:
    """The number that an instruction is, or copies."""
    found = _made(computation, name)
    if found.op != "constant" or not re.fullmatch(r"-?\d+", found.inside.strip()):
        return None
    return int(found.inside)
