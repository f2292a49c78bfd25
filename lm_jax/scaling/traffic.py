"""The bytes that an instruction reads from a memory, and writes to it."""

from collections.abc import Callable, Iterable, Iterator

from lm_jax.scaling.hlo import Array, Computation, Instruction, Program, fused, root

_SLICES = ("dynamic-slice", "slice", "gather")
_UPDATE = "dynamic-update-slice"

Lies = Callable[[Array], bool]


def on_chip(array: Array) -> bool:
    """Whether an array lies in the chip's large memory."""
    return not array.near and not array.away


def on_host(array: Array) -> bool:
    """Whether an array lies in the memory of the host."""
    return array.away


def moved(
    program: Program, within: Computation, each: Instruction, lies: Lies = on_chip
) -> float:
    """Count what an instruction moves: operands once, and results once.

    Of an array that it takes slices of, the slices; of one that it changes in place,
    what is changed.

    Args:
        program: it is of.
        within: the computation that it stands in.
        each: the instruction.
        lies: whether an array lies in the memory that is looked at.
    """
    operands = [within[name].results for name in each.operands]
    if inside := fused(program, each):
        read = _read(program, inside, operands, lies)
        return read + _written(inside, each, lies)
    if each.op in _SLICES:
        read = _size(each.results) if lies(operands[0][0]) else 0.0
        return read + _there(each.results, lies)
    if each.op == _UPDATE:
        written = _size(operands[1]) if lies(each.results[0]) else 0.0
        return _there(operands[1], lies) + written
    if each.op.endswith("-start"):  # from the one to the other
        arrays = [array for array in each.results if array.dims]
        ends = arrays[:2] or each.results[:2]  # indices of a slice aside
        smaller = min(array.bytes for array in ends)
        return smaller * sum(map(lies, ends))
    read = sum((_there(arrays, lies) for arrays in operands), 0.0)
    return read + _there(each.results, lies)


def _size(arrays: Iterable[Array]) -> float:
    return sum((array.bytes for array in arrays), 0.0)


def _there(arrays: Iterable[Array], lies: Lies) -> float:
    """The bytes of those that lie in a memory."""
    return _size(filter(lies, arrays))


def _read(
    program: Program,
    inside: Computation,
    operands: list[tuple[Array, ...]],
    lies: Lies,
) -> float:
    """What a fusion reads of its operands."""
    total = 0.0
    for each in inside.values():
        if each.op != "parameter":
            continue
        whole = _there(operands[int(each.inside)], lies)
        readers = list(_readers(program, inside, each.name))
        if readers and all(_reads_part(reader, place) for reader, place in readers):
            slices = [r for r, _ in readers if r.op in _SLICES]
            whole = min(whole, _size(array for r in slices for array in r.results))
        total += whole
    return total


def _readers(
    program: Program, inside: Computation, name: str
) -> Iterator[tuple[Instruction, int]]:
    """What reads an instruction, and as which operand.

    Bitcasts are looked through, and fusions are looked into.
    """
    for each in inside.values():
        for place, operand in enumerate(each.operands):
            if operand != name:
                continue
            if each.op == "bitcast":
                yield from _readers(program, inside, each.name)
            elif further := fused(program, each):
                own = (p for p in further.values() if p.op == "parameter")
                given = next(p for p in own if int(p.inside) == place)
                yield from _readers(program, further, given.name)
            else:
                yield each, place


def _reads_part(reader: Instruction, place: int) -> bool:
    return place == 0 and (reader.op in _SLICES or reader.op == _UPDATE)


def _written(inside: Computation, fusion: Instruction, lies: Lies) -> float:
    """What a fusion writes of its results."""
    last, results = root(inside), fusion.results
    names = last.operands if last.op == "tuple" else (last.name,)
    if len(names) != len(results):  # a tuple in a tuple
        return _there(results, lies)
    total = 0.0
    for name, result in zip(names, results, strict=True):
        made = inside[name]
        while made.op == "bitcast":
            made = inside[made.operands[0]]
        changed = inside[made.operands[1]].results if made.op == _UPDATE else (result,)
        total += _size(changed) if lies(result) else 0.0
    return total
