"""The bytes that an instruction reads from a device's memory, and writes to it."""

from collections.abc import Iterable, Iterator

from lm_jax.scaling.hlo import Array, Computation, Instruction, Program, fused, root

_SLICES = ("dynamic-slice", "slice", "gather")
_UPDATE = "dynamic-update-slice"


def moved(program: Program, within: Computation, each: Instruction) -> float:
    """Count what an instruction moves: operands once, and results once.

    Of an array that it takes slices of, the slices; of one that it changes in place,
    what is changed.

    Args:
        program: it is of.
        within: the computation that it stands in.
        each: the instruction.
    """
    operands = [within[name].results for name in each.operands]
    if inside := fused(program, each):
        return _read(inside, operands) + _written(inside, each.results)
    if each.op in _SLICES:
        read = 0.0 if operands[0][0].near else _size(each.results)
        return read + _far(each.results)
    if each.op == _UPDATE:
        written = 0.0 if each.results[0].near else _size(operands[1])
        return _far(operands[1]) + written
    if each.op.endswith("-start"):  # from the one to the other
        ends = each.results[:2]
        smaller = min(array.bytes for array in ends)
        return smaller * sum(not array.near for array in ends)
    return sum(map(_far, operands), _far(each.results))


def _size(arrays: Iterable[Array]) -> float:
    return sum((array.bytes for array in arrays), 0.0)


def _far(arrays: Iterable[Array]) -> float:
    """The bytes of those that lie in the large memory."""
    return _size(array for array in arrays if not array.near)


def _read(inside: Computation, operands: list[tuple[Array, ...]]) -> float:
    """What a fusion reads of its operands."""
    total = 0.0
    for each in inside.values():
        if each.op != "parameter":
            continue
        whole = _far(operands[int(each.inside)])
        readers = list(_readers(inside, each.name))
        if readers and all(_reads_part(reader, place) for reader, place in readers):
            slices = [r for r, _ in readers if r.op in _SLICES]
            whole = min(whole, _size(array for r in slices for array in r.results))
        total += whole
    return total


def _readers(inside: Computation, name: str) -> Iterator[tuple[Instruction, int]]:
    """What reads an instruction, and as which operand, bitcasts looked through."""
    for each in inside.values():
        for place, operand in enumerate(each.operands):
            if operand == name and each.op == "bitcast":
                yield from _readers(inside, each.name)
            elif operand == name:
                yield each, place


def _reads_part(reader: Instruction, place: int) -> bool:
    return place == 0 and (reader.op in _SLICES or reader.op == _UPDATE)


def _written(inside: Computation, results: tuple[Array, ...]) -> float:
    """What a fusion writes of its results."""
    last = root(inside)
    names = last.operands if last.op == "tuple" else (last.name,)
    if len(names) != len(results):  # a tuple in a tuple
        return _far(results)
    total = 0.0
    for name, result in zip(names, results, strict=True):
        made = inside[name]
        while made.op == "bitcast":
            made = inside[made.operands[0]]
        changed = inside[made.operands[1]].results if made.op == _UPDATE else (result,)
        total += 0.0 if result.near else _size(changed)
    return total
