"""What a sweep will cost: looked up, planned by the compiler, and measured."""

from collections.abc import Iterator
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size

from lm_jax.ablation.measuring import STEPS, seconds, stepper
from lm_jax.ablation.plan import Plan, Variant
from lm_jax.errors import UserError
from lm_jax.runs.display import Display
from lm_jax.runs.figures import duration, short, size
from lm_jax.sweeping.checks import Resolved, resolve
from lm_jax.training.compiled import Compiled
from lm_jax.training.loop import scored
from lm_jax.training.memory import check_plan
from lm_jax.training.setup import set_up


class Cost(NamedTuple):
    """What each run of a variant costs.

    Attributes:
        name: of the variant.
        resolved: parameters, tokens, FLOPs, disk.
        memory: bytes that a device holds in a step, as the compiler plans; None where
            it doesn't say.
        seconds: of its steps and of what it watches, as measured now.
    """

    name: str
    resolved: Resolved
    memory: int | None
    seconds: float


def preview(plan: Plan, display: Display) -> list[Cost]:
    """Measure a few steps of each variant; nothing is written.

    Raises:
        UserError: the plan isn't sound, or a step doesn't fit into memory.
    """
    resolved = resolve(plan, display.work)
    costs = []
    for done, variant in enumerate(plan.variants, 1):
        which = f"{variant.name}, {done} of {len(plan.variants)}"
        with display.waiting(f"measuring a few steps of {which}"):
            try:
                measured = _measured(variant)
            except UserError as error:
                raise UserError(f"{variant.name}: {error}") from error
        costs.append(Cost(variant.name, resolved[variant.name], *measured))
    return costs


def _measured(variant: Variant) -> tuple[int | None, float]:
    """Memory of a step, and seconds of a run.

    Raises:
        UserError: a step doesn't fit into memory.
    """
    setup = set_up(variant.experiment)
    compiled = Compiled(setup)
    shape = setup.order.shapes[-1]
    analysis = compiled.traced(setup, shape).lower().compile().memory_analysis()
    check_plan(setup, analysis)
    run = stepper(setup, compiled)
    a_step = seconds(run, STEPS) / STEPS
    evaluation = setup.experiment.evaluations[setup.experiment.watch]
    often = -(-setup.total // setup.every[setup.experiment.watch])
    state = run(1)

    def evaluate(_: int) -> None:
        # What was scored is remembered: each time it is another one.
        evaluation.run(scored(setup, compiled, state, None), "validation")

    once = seconds(evaluate, 1)
    held = None
    if analysis is not None:
        held = analysis.argument_size_in_bytes + analysis.temp_size_in_bytes
    return held, setup.total * a_step + often * once


def lines(plan: Plan, costs: list[Cost]) -> Iterator[str]:
    """The costs of a run of each variant, and of the whole sweep."""
    heads = ("parameters", "tokens", "FLOPs", "memory", "disk", "time")
    table: list[tuple[str, tuple[str, ...]]] = [("a run of", heads)]
    for name, found, memory, took in costs:
        cells = (
            short(found.parameters),
            short(found.tokens),
            f"{found.flops:.2e}",
            size(memory) if memory is not None else "-",
            size(found.bytes),
            duration(took),
        )
        table.append((name, cells))
    trials, seeds = len(plan.points), plan.study.seeds
    most = "at most " * (plan.study.search == "halving")
    if trials:
        named = f"{most}{trials * len(costs)} trials"
        table.append((named, _whole(costs, trials)))
        table.append((f"{seeds * len(costs)} compared", _whole(costs, seeds)))
    runs = trials + seeds
    table.append((f"{most}all {runs * len(costs)}", _whole(costs, runs)))
    widths = [max(len(cells[k]) for _, cells in table) for k in range(len(heads))]
    room = max(cell_len(name) for name, _ in table)
    for name, line in table:
        padded = (f"{cell:>{n}}" for cell, n in zip(line, widths, strict=True))
        yield f"  {set_cell_size(name, room)}  {'  '.join(padded)}"


def _whole(costs: list[Cost], runs: int) -> tuple[str, ...]:
    """What so many runs of each variant cost."""
    return (
        "",
        short(runs * sum(each.resolved.tokens for each in costs)),
        f"{runs * sum(each.resolved.flops for each in costs):.2e}",
        "",
        size(runs * sum(each.resolved.bytes for each in costs)),
        duration(runs * sum(each.seconds for each in costs)),
    )
