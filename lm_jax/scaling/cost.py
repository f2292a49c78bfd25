"""What a compiled step costs a device: operations, bytes, collectives, seconds.

Counted from the program's text, every instruction as often as its loops run: XLA's own
``cost_analysis`` counts the body of a loop once.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from lm_jax.chips import Chip
from lm_jax.scaling.collectives import Collective, Route, collectives, kind_of
from lm_jax.scaling.hlo import (
    Array,
    Computation,
    Instruction,
    Program,
    fused,
    parse,
    trips,
)
from lm_jax.scaling.products import products
from lm_jax.scaling.traffic import moved, on_chip, on_host

Kernel = Callable[[str, list[Array]], float | None]

# They compute nothing and move nothing.
_FREE = {
    *("after-all", "bitcast", "constant", "get-tuple-element", "iota", "parameter"),
    *("opt-barrier", "optimization-barrier", "partition-id", "replica-id", "tuple"),
    *("send", "recv"),
}
_FREE_TARGETS = {
    *("AllocateBuffer", "AssumeGatherIndicesInBound", "ConcatBitcast", "SliceId"),
}
_COMPUTES = {"convolution", "custom-call", "dot", "fusion", "reduce", "while"}
_COPIES = {"ZeroCrop"}  # they move, and compute nothing


@dataclass
class Cost:
    """What a device does; all of it of one step.

    Attributes:
        flops: additions and multiplications of products of matrices.
        passes: the same, float32 products counted as the bfloat16 ones that make them.
        bytes: read from its memory and written to it.
        host: bytes read from the memory of its host and written to it.
        seconds: of each instruction the longer of computing and moving, in sum; 0 where
            the chip's figures are not known.
        kernels: of them, those that kernels compute for longer than they move arrays.
        collectives: how many, by what devices they are among.
        sizes: bytes of them, of the whole array that is gathered or reduced.
        meanwhile: how many collectives run while the device computes.
        uncounted: calls whose operations are not known, by name.
    """

    flops: float = 0.0
    passes: float = 0.0
    bytes: float = 0.0
    host: float = 0.0
    seconds: float = 0.0
    kernels: float = 0.0
    collectives: Counter[Route] = field(default_factory=Counter)
    sizes: Counter[Route] = field(default_factory=Counter)
    meanwhile: int = 0
    uncounted: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Cost", times: int = 1) -> None:
        """Count another one too, so many times."""
        for name, value in vars(other).items():
            if isinstance(value, Counter):
                for key, count in value.items():
                    getattr(self, name)[key] += count * times
            else:
                setattr(self, name, getattr(self, name) + value * times)


def count(text: str, chip: Chip | None = None, kernel: Kernel | None = None) -> Cost:
    """Count a compiled program.

    Args:
        text: of ``compiled.as_text()``.
        chip: it was compiled for; None gives no seconds.
        kernel: operations of a kernel that is called, from its name and operands; None
            where it isn't known.
    """
    program = parse(text)
    return _of_computation(_Counting(program, chip, kernel), program.entry)


@dataclass(frozen=True)
class _Counting:
    """What is counted, for what; see `count`."""

    program: Program
    chip: Chip | None
    kernel: Kernel | None

    def timed(
        self, within: Computation, each: Instruction, flops: float, passes: float
    ) -> Cost:
        """Give the cost of one instruction, with what it moves."""
        size, host = self.moved(within, each)
        seconds = 0.0
        if self.chip is not None:
            seconds = max(passes / self.chip.flops, size / self.chip.bandwidth)
        return Cost(flops, passes, size, host, seconds)

    def moved(self, within: Computation, each: Instruction) -> tuple[float, float]:
        """Bytes that an instruction moves of the device's memory and of the host's."""
        size = moved(self.program, within, each, on_chip)
        return size, moved(self.program, within, each, on_host)


def _of_computation(of: _Counting, name: str) -> Cost:
    total, within = Cost(), of.program.computations[name]
    sent: dict[str, list[tuple[Instruction, Collective]]] = {}
    for each in within.values():
        total.add(_of_instruction(of, within, each))
        for found in collectives(of.program, within, each):
            sent.setdefault(found.channel, []).append((each, found))
    for runs in sent.values():
        each, found = runs[0]
        total.collectives[found.route] += 1
        total.sizes[found.route] += round(found.size)
        total.meanwhile += len(runs) > 1 or _beside(within, each)
    return total


def _beside(within: Computation, start: Instruction) -> bool:
    """Whether something is computed between the start of an instruction and its end."""
    order = list(within.values())
    after = order[order.index(start) + 1 :]
    ends = (i for i, each in enumerate(after) if start.name in each.operands)
    between = after[: next(ends, 0)] if start.op.endswith("-start") else []
    return any(each.op in _COMPUTES for each in between)


def _of_instruction(of: _Counting, within: Computation, each: Instruction) -> Cost:
    """The cost of one instruction, its collectives apart."""
    if each.op in _FREE or each.op.endswith("-done") or kind_of(each):
        return Cost()
    if each.op == "while":
        return _of_loop(of, within, each)
    if each.op == "conditional":
        names = ("branch_computations", "true_computation", "false_computation")
        branches = [_of_computation(of, name) for name in each.called(*names)]
        return max(branches, key=lambda cost: (cost.seconds, cost.flops))
    if each.op in ("call", "call-start", "async-start"):
        total = Cost()
        for name in each.called("to_apply", "calls", "called_computations"):
            total.add(_of_computation(of, name))
        return total
    if each.op == "custom-call":
        return _of_call(of, within, each)
    if each.op.endswith("-start"):  # moved while others compute
        size, host = of.moved(within, each)
        return Cost(bytes=size, host=host)
    found = list(products(of.program, within, each))
    if not found and any(map(kind_of, fused(of.program, each).values())):
        return Cost()
    flops = sum((flops for flops, _ in found), 0.0)
    passes = sum((flops * passes for flops, passes in found), 0.0)
    return of.timed(within, each, flops, passes)


def _of_loop(of: _Counting, within: Computation, each: Instruction) -> Cost:
    times, total = trips(of.program, within, each), Cost()
    for name in each.called("body"):
        total.add(_of_computation(of, name), 1 if times is None else times)
    if times is None:
        total.uncounted["a loop of unknown length, counted once"] += 1
    return total


def _of_call(of: _Counting, within: Computation, each: Instruction) -> Cost:
    """The cost of what the compiler doesn't know: a kernel, or a library's function."""
    target = each.said(r'custom_call_target="([^"]*)"') or each.name
    if target in _FREE_TARGETS:
        return Cost()
    name = re.sub(r"[.\d]+$", "", each.name) if target == "tpu_custom_call" else target
    arrays = [array for o in each.operands for array in within[o].results]
    flops = 0.0 if target in _COPIES else of.kernel and of.kernel(name, arrays)
    cost = of.timed(within, each, flops or 0.0, flops or 0.0)
    cost.kernels = cost.seconds - of.timed(within, each, 0.0, 0.0).seconds
    if flops is None:
        cost.uncounted[name] += 1
    return cost
