"""Products of matrices in an instruction: their operations, whatever their form."""

import math
import re
from collections.abc import Iterator

import numpy as np

from lm_jax.scaling.hlo import Array, Computation, Instruction, Program, fused

# A TPU makes a float32 product of so many bfloat16 ones, by its precision.
_PASSES = {"highest": 6, "high": 3}


def products(
    program: Program, within: Computation, each: Instruction
) -> Iterator[tuple[float, int]]:
    """Find the products in an instruction, those that are fused into it too.

    Args:
        program: it is of.
        within: the computation that it stands in.
        each: the instruction.

    Yields:
        Operations of each, and how many products of bfloat16 a TPU makes of it.
    """
    inside = fused(program, each)
    for inner in inside.values():
        yield from products(program, inside, inner)
    if each.op in ("dot", "convolution"):
        left, right = (within[o].results[0] for o in each.operands[:2])
        flops = _of_dot if each.op == "dot" else _of_convolution
        precision = each.said(r"operand_precision=\{(\w+)") or "default"
        passes = _PASSES.get(precision, 1) if left.kind == "f32" else 1
        yield flops(left, right, each), passes


def _of_dot(left: Array, right: Array, each: Instruction) -> float:
    axes = each.said(r"lhs_contracting_dims=\{([\d,]*)\}") or ""
    summed = math.prod(left.dims[int(axis)] for axis in axes.split(",") if axis)
    return 2.0 * math.prod(each.results[0].dims) * summed


def _of_convolution(left: Array, right: Array, each: Instruction) -> float:
    """Operations on numbers alone, not on the zeros of a padding or between them.

    The compiler of TPUs writes all products so, those of many matrices as a window that
    meets one of them at a time.
    """
    labels = [each.said(rf"dim_labels={p}") or "" for p in _LABELS]
    sizes, result = each.said(r"window=\{([^}]*)\}") or "", each.results[0]
    window = dict(re.findall(r"(\w+)=(\S+)", sizes))
    total = 2.0 * right.dims[labels[1].index("i")]
    total *= result.dims[labels[2].index("b")] * result.dims[labels[2].index("f")]
    for axis in filter(str.isdigit, labels[0]):
        held = left.dims[labels[0].index(axis)]
        made = result.dims[labels[2].index(axis)]
        total *= meetings(held, made, window, int(axis))
    return total


_LABELS = (r"(\w+)_", r"\w+_(\w+)->", r"\w+_\w+->(\w+)")


def meetings(held: int, made: int, window: dict[str, str], axis: int) -> int:
    """Count how often a place of the window meets a number of the input, along an axis.

    Args:
        held: numbers of the input.
        made: of the result.
        window: of the convolution, as the text has it.
        axis: which one.
    """

    def along(name: str, default: str) -> str:
        return window[name].split("x")[axis] if name in window else default

    step, between = int(along("stride", "1")), int(along("lhs_dilate", "1"))
    before = int(along("pad", "0_0").split("_")[0])
    starts = np.arange(made) * step - before
    total = 0
    for place in range(int(along("size", "1"))):
        at = starts + place * int(along("rhs_dilate", "1"))
        met = (at >= 0) & (at <= (held - 1) * between) & (at % between == 0)
        total += int(met.sum())
    return total
