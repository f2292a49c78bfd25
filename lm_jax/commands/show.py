"""What an experiment resolves to, before it runs."""

import math
import sys
import textwrap
from typing import Any

import jax

from lm_jax.commands.train import describe, resolve
from lm_jax.experiment import flatten
from lm_jax.platform import called
from lm_jax.runs.display import Display
from lm_jax.selectors import path_name, select
from lm_jax.training.loop import compile_functions
from lm_jax.training.setup import CACHE, Setup, set_up

USAGE = """\
usage: ./launch.sh show FILE[:VARIANT] [--FIELD VALUE ...]

Prints what an experiment resolves to: every field, every parameter with its
shape, how many there are, which decay, operations and memory a step. Nothing
is trained."""


def main(args: list[str]) -> int:
    """Run the command."""
    if not args or args[0] in ("-h", "--help"):
        print(USAGE.replace("./launch.sh", called()))
        return 0 if args else 2
    named, *_ = resolve(args, "show")
    display = Display(0)
    fields = [(k, v) for k, v in flatten(named.experiment).items() if v]
    display.header("experiment", fields)
    if not named.experiment.in_steps:
        data = named.experiment.data.prepare(CACHE, display.work)
        display.close()
        display.header("resolved", [("data", data.statement)])
        return 0
    experiment: Any = named.experiment
    setup = set_up(experiment, progress=display.work)
    display.close()
    _parameters(setup)
    rows = describe(setup)
    rows.append(("FLOPs a token", f"{setup.units.flops / setup.units.tokens:,.0f}"))
    rows += _memory(setup)
    display.header("resolved", rows)
    return 0


def _parameters(setup: Setup) -> None:
    """A line for each parameter: name, shape, count, whether it decays or is frozen."""
    optimizer, params = setup.experiment.optimizer, setup.saved_shapes().params
    decays = select(optimizer.decays, params, "optimizer.decays", None)
    rates = select(optimizer.rates, params, "optimizer.rates", None)
    frozen = select(setup.experiment.frozen, params, "frozen", None)
    leaves = jax.tree_util.tree_leaves_with_path(params)
    print("parameters")
    print(f"  {'name':34}{'shape':>14}{'count':>12}  decays")
    chosen = (jax.tree.leaves(tree) for tree in (decays, rates, frozen))
    for (path, leaf), decay, rate, fixed in zip(leaves, *chosen, strict=True):
        shape = " x ".join(str(n) for n in leaf.shape)
        word = "yes" if decay and optimizer.weight_decay else "no"
        word += "" if rate == 1.0 else f", rate x {rate}"
        word = "frozen" if fixed else word
        name = path_name(path)
        if len(name) > 33:
            print(textwrap.fill(f"  {name}", 80, subsequent_indent="  "))
            name = ""
        print(f"  {name:34}{shape:>14}{math.prod(leaf.shape):>12,}  {word}")
    print(f"  {'total':48}{setup.parameters:>12,}")


def _memory(setup: Setup) -> list[tuple[str, str]]:
    """What a step holds at once, as the compiler plans it for one device."""

    def size(tree) -> int:
        return sum(
            math.prod(leaf.shape) * leaf.dtype.itemsize
            for leaf in jax.tree.leaves(tree)
        )

    batch = setup.placed_batch(setup.order.shapes[-1])
    step, seed = compile_functions(setup).step, setup.placed_seed()
    with Display(0, sys.stderr).waiting("compiling a step, to see what it holds"):
        program = step.lower(setup.placed_shapes(), batch, seed).compile()
        plan = program.memory_analysis()
    rows = [
        ("parameters", _bytes(size(setup.shapes.params))),
        ("optimizer", _bytes(size(setup.shapes.opt_state))),
    ]
    if setup.shapes.average is not None:
        rows.append(("average", _bytes(size(setup.shapes.average))))
    if plan is not None:
        total = plan.argument_size_in_bytes + plan.temp_size_in_bytes
        rows.append(("activations", _bytes(plan.temp_size_in_bytes)))
        rows.append(("a device holds", f"{_bytes(total)}, as the compiler plans it"))
    return rows


def _bytes(size: int) -> str:
    count = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.4g} {unit}"
        count /= 1000
    return f"{count:.4g} TB"
