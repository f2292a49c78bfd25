"""What an experiment resolves to, before it runs."""

import ast
import math
import sys
import textwrap
from typing import Any, NamedTuple

import jax

from lm_jax.commands.as_json import print_json
from lm_jax.commands.asked import resolve
from lm_jax.commands.told import describe, mesh_of
from lm_jax.experiment import flatten
from lm_jax.platform import called
from lm_jax.runs.display import Display
from lm_jax.selectors import path_name, select
from lm_jax.training.compiled import Compiled
from lm_jax.training.layout import layout, on_device
from lm_jax.training.resolved import Setup
from lm_jax.training.setup import CACHE, set_up
from lm_jax.training.trainable import begins_of, frozen_of

USAGE = """\
usage: ./launch.sh show FILE[:VARIANT] [--json] [--FIELD VALUE ...]

Prints what an experiment resolves to: every field, every parameter with its
shape, how many there are, which decay, operations and memory a step; on several
devices, which axes of the mesh split each, and its bytes on a device. Nothing
is trained. --json prints {"experiment": {FIELD: VALUE}, "parameters": [{"name",
"shape", "decays", "rate", "frozen", "begins"}], "layout": [{"name", "shape",
"spec", "bytes"}], "resolved": {"steps", "tokens_per_step", "flops_per_token",
"parameters", "memory": {NAME: BYTES}}}."""


class Parameter(NamedTuple):
    """A parameter as it will be trained.

    Attributes:
        name: its path.
        shape: of its array.
        decays: whether weight decay acts on it.
        rate: factor on its learning rate.
        frozen: whether it isn't trained.
        begins: the first step that it is trained in.
    """

    name: str
    shape: tuple[int, ...]
    decays: bool
    rate: float
    frozen: bool
    begins: int


def main(args: list[str]) -> int:
    """Run the command."""
    if not args or args[0] in ("-h", "--help"):
        print(USAGE.replace("./launch.sh", called()))
        return 0 if args else 2
    as_json = "--json" in args
    named, *_ = resolve([arg for arg in args if arg != "--json"], "show")
    aside = Display(0, sys.stderr)
    experiment: Any = named.experiment
    fields = [(k, v) for k, v in flatten(experiment).items() if v]
    if not experiment.in_steps:
        data = experiment.data.prepare(CACHE, aside.work)
        aside.close()
        if as_json:
            print_json({"experiment": _values(fields), "resolved": {}})
            return 0
        Display(0).header("experiment", fields)
        Display(0).header("resolved", [("data", data.statement)])
        return 0
    setup = set_up(experiment, progress=aside.work)
    aside.close()
    parameters, memory = _parameters(setup), _memory(setup)
    if as_json:
        print_json(_object(setup, fields, parameters, memory))
        return 0
    display = Display(0)
    display.header("experiment", fields)
    _print_parameters(setup, parameters)
    if setup.mesh.size > 1:
        _print_layout(setup)
    rows = describe(setup)
    rows.append(("FLOPs a token", f"{setup.units.flops / setup.units.tokens:,.0f}"))
    rows += [(name, _bytes(size)) for name, size in memory.items()]
    display.header("resolved", rows)
    return 0


def _object(
    setup: Setup,
    fields: list[tuple[str, str]],
    parameters: list[Parameter],
    memory: dict[str, int],
) -> dict[str, Any]:
    """All of it, for other programs."""
    return {
        "experiment": _values(fields),
        "parameters": [each._asdict() for each in parameters],
        "layout": [each._asdict() for each in layout(setup)],
        "resolved": {
            "steps": setup.total,
            "tokens_per_step": setup.units.tokens,
            "flops_per_token": setup.units.flops / setup.units.tokens,
            "parameters": setup.parameters,
            "memory": memory,
        },
    }


def _values(fields: list[tuple[str, str]]) -> dict[str, Any]:
    """Fields as JSON has them: numbers, texts, null; kinds by their names."""

    def value(text: str) -> Any:
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError):
            return text

    return {name: value(text) for name, text in fields}


def _parameters(setup: Setup) -> list[Parameter]:
    """Each parameter: whether it decays or is frozen, and how fast it learns."""
    optimizer, params = setup.experiment.optimizer, setup.saved_shapes().params
    decays = select(optimizer.decays, params, "optimizer.decays", None)
    rates = select(optimizer.rates, params, "optimizer.rates", None)
    frozen = frozen_of(setup.experiment, params)
    begins = begins_of(setup.experiment, params, setup.units, setup.total)
    begins = jax.tree.map(lambda _: 0, params) if begins is None else begins
    leaves = jax.tree_util.tree_leaves_with_path(params)
    chosen = (jax.tree.leaves(tree) for tree in (decays, rates, frozen, begins))
    return [
        Parameter(
            path_name(path),
            leaf.shape,
            bool(decay and optimizer.weight_decay),
            float(rate),
            bool(fixed),
            begin + 1,
        )
        for (path, leaf), decay, rate, fixed, begin in zip(leaves, *chosen, strict=True)
    ]


def _print_parameters(setup: Setup, parameters: list[Parameter]) -> None:
    """A line for each parameter, and their number."""
    print("parameters")
    print(f"  {'name':34}{'shape':>14}{'count':>12}  decays")
    for name, shape, decays, rate, frozen, begins in parameters:
        word = "yes" if decays else "no"
        word += "" if rate == 1.0 else f", rate x {rate:g}"
        word += "" if begins == 1 else f", from step {begins}"
        word = "frozen" if frozen else word
        if len(name) > 33:
            print(textwrap.fill(f"  {name}", 80, subsequent_indent="  "))
            name = ""
        sides = " x ".join(map(str, shape))
        print(f"  {name:34}{sides:>14}{math.prod(shape):>12,}  {word}")
    print(f"  {'total':48}{setup.parameters:>12,}")


def _print_layout(setup: Setup) -> None:
    """A line for each parameter, like layers as one: what splits it, and its share."""
    stages = setup.mesh.shape["stage"]
    also = f", and layers (block_) over {stages} stages" if stages > 1 else ""
    print(f"layout: {mesh_of(setup)}{also}")
    print(f"  {'name':30}{'shape':>14}{'a device':>11}  split by")
    for name, shape, spec, size in layout(setup):
        if len(name) > 29:
            print(textwrap.fill(f"  {name}", 80, subsequent_indent="  "))
            name = ""
        split = f"({', '.join(axis or 'None' for axis in spec)})" if any(spec) else "()"
        sides = " x ".join(map(str, shape))
        print(f"  {name:30}{sides:>14}{_bytes(size):>11}  {split}")
    state = setup.placed_shapes()
    for name, part in (("optimizer", state.opt_state), ("average", state.average)):
        if part is not None:
            print(f"  {name:44}{_bytes(on_device(part)):>11}")


def _memory(setup: Setup) -> dict[str, int]:
    """Bytes of a step, as the compiler plans it for one device."""

    def size(tree) -> int:
        return sum(
            math.prod(leaf.shape) * leaf.dtype.itemsize
            for leaf in jax.tree.leaves(tree)
        )

    step = Compiled(setup).traced(setup, setup.order.shapes[-1])
    with Display(0, sys.stderr).waiting("compiling a step, to see what it holds"):
        plan = step.lower().compile().memory_analysis()
    found = {
        "parameters": size(setup.shapes.params),
        "optimizer": size(setup.shapes.opt_state),
    }
    if setup.shapes.average is not None:
        found["average"] = size(setup.shapes.average)
    if plan is not None:
        total = plan.argument_size_in_bytes + plan.temp_size_in_bytes
        found |= {"activations": plan.temp_size_in_bytes, "a device holds": total}
    return found


def _bytes(size: int) -> str:
    count = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.4g} {unit}"
        count /= 1000
    return f"{count:.4g} TB"
