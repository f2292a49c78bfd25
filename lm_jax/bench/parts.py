"""Where a training step's time goes: its parts, beside what their products need."""

import itertools
import re
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax

from lm_jax.bench.jax_side import Training
from lm_jax.bench.sizes import Mode
from lm_jax.scaling.hlo import Computation, Instruction, Program, parse
from lm_jax.scaling.products import products


class Span(NamedTuple):
    """An instruction that ran: its name, and when, in nanoseconds."""

    name: str
    start: float
    end: float


@dataclass
class Part:
    """What a part of the model takes of a step.

    Attributes:
        seconds: of a step.
        multiplying: of these, in instructions with products of matrices.
        flops: operations of these products.
    """

    seconds: float = 0.0
    multiplying: float = 0.0
    flops: float = 0.0


@dataclass
class Step:
    """What a step takes.

    Attributes:
        seconds: of the clock, without a trace.
        traced: the same, with one.
        instructions: that run in it.
        parts: of it, the longest first; "nothing" is when no instruction runs.
    """

    seconds: float
    traced: float
    instructions: float
    parts: dict[str, Part]


def measure(training: Training, mode: Mode, steps: int) -> Step:
    """Train, then train again under a trace, and tell the parts of it apart.

    Args:
        training: whose steps.
        mode: of it.
        steps: to take the mean of.
    """
    training(mode, 2)
    seconds = _timed(training, mode, steps)
    with tempfile.TemporaryDirectory(prefix="lm_jax_parts_") as folder:
        jax.profiler.start_trace(folder)
        traced = _timed(training, mode, steps)
        jax.profiler.stop_trace()
        spans = list(_spans(Path(folder)))
    found = parts(parse(training.step(mode).as_text() or ""), spans, steps)
    found["nothing"] = Part(traced - sum(part.seconds for part in found.values()))
    order = sorted(found.items(), key=lambda item: -item[1].seconds)
    return Step(seconds, traced, len(spans) / steps, dict(order))


def _timed(training: Training, mode: Mode, steps: int) -> float:
    begin = time.perf_counter()
    training(mode, steps)
    return (time.perf_counter() - begin) / steps


def _spans(folder: Path) -> Iterator[Span]:
    """What a trace has of the training step's instructions."""
    (found,) = folder.rglob("*.xplane.pb")
    began, ended = [], {}
    for plane in jax.profiler.ProfileData.from_file(str(found)).planes:
        for event in itertools.chain.from_iterable(line.events for line in plane.lines):
            about = {name: value for name, value in event.stats if name}
            end = event.start_ns + event.duration_ns
            if "train_step" in str(about.get("hlo_module")):
                began.append((Span(about["hlo_op"], event.start_ns, end), about))
            elif event.name.startswith("end: "):
                ended[about.get("_c")] = end
    for span, about in began:
        # What threads go on with ends later than what has set them to work.
        yield span._replace(end=max(span.end, ended.get(about.get("_p"), 0.0)))


def parts(program: Program, spans: Iterable[Span], steps: int) -> dict[str, Part]:
    """Add up the time of instructions by the part of the model that they are of.

    Args:
        program: that ran.
        spans: when its instructions ran, in so many steps.
        steps: that they are of.
    """
    whole = program.computations.values()
    home = {name: within for within in whole for name in within}
    known = [span for span in spans if span.name in home]
    runs = Counter(span.name for span in known)
    waits = {name for name in runs if home[name][name].op in _WAITS}
    found: defaultdict[str, Part] = defaultdict(Part)
    for name, nanoseconds in _shares(known, waits).items():
        each = home[name][name]
        part = found[_part(_path(home[name], each))]
        flops = _flops(program, home[name], each) * runs[name] / steps
        seconds = nanoseconds / 1e9 / steps
        part.seconds += seconds
        part.flops += flops
        part.multiplying += seconds if flops else 0.0
    return dict(found)


# They wait for what they call.
_WAITS = {"while", "conditional"}


def _shares(spans: list[Span], waits: set[str]) -> dict[str, float]:
    """Nanoseconds by instruction: those that run at once share the time."""
    moments = [(span.start, 1, place) for place, span in enumerate(spans)]
    moments += [(span.end, 0, place) for place, span in enumerate(spans)]
    shares: defaultdict[str, float] = defaultdict(float)
    running: set[int] = set()
    before = 0.0
    for now, begins, place in sorted(moments):
        at_work = [spans[each].name for each in running]
        at_work = [name for name in at_work if name not in waits] or at_work
        for name in at_work:
            shares[name] += (now - before) / len(at_work)
        (running.add if begins else running.discard)(place)
        before = now
    return shares


def _flops(program: Program, within: Computation, each: Instruction) -> float:
    """Operations of an instruction's products, of those in what it calls too."""
    total = sum((flops for flops, _ in products(program, within, each)), 0.0)
    for name in each.called("to_apply") if each.op == "call" else []:
        inner = program.computations[name]
        total += sum(_flops(program, inner, one) for one in inner.values())
    return total


def _path(within: Computation, each: Instruction, steps: int = 3) -> str:
    """What an instruction was traced for: by its name, or by a near one that has one.

    The compiler loses names: who reads the instruction, or is read by it, has them.
    """
    path = each.said(r'op_name="([^";]*)')
    if path or not steps:
        return path or ""
    near = [one for one in within.values() if each.name in one.operands]
    near += [within[name] for name in each.operands if name in within]
    return next(filter(None, (_path(within, one, steps - 1) for one in near)), "")


def _part(path: str) -> str:
    """The part of the model that a path is of: "block/attention, backward"."""
    if not path:
        return "unnamed"
    if "jvp(" not in path:
        return "update"
    way = ", backward" if "transpose(" in path else ""
    names = [_DIGITS.sub("", name) for name in path.split("/")[:-1]]
    modules = [name for name in names if re.fullmatch(r"[a-z_]+", name)]
    modules = [name for name in modules if name not in _FLOW]
    methods = re.findall(r"\w\.(?:_?)(\w+)", path)
    return ("/".join(modules[:2]) or (methods or ["loss"])[-1]) + way


_DIGITS = re.compile(r"_?\d+")
_FLOW = {
    *("while", "body", "cond", "branch_fun", "eval_jaxpr", "checkpoint"),
    *("closed_call", "custom_vjp_call", "rematted_computation"),
}
