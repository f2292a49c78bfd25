"""Budgets made equal: a field of each variant is changed until it costs as much.

Of its shapes alone: nothing is compiled, but for the time of steps.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from lm_jax.ablation.measuring import seconds_of_step
from lm_jax.ablation.plan import Matched, Plan, Variant, check_different
from lm_jax.ablation.plan_file import read_plan
from lm_jax.durations import Units, steps
from lm_jax.errors import UserError
from lm_jax.experiment import Experiment
from lm_jax.experiment.kinds import at, changed
from lm_jax.runs.figures import duration
from lm_jax.runs.trials import PLAN
from lm_jax.training.compatibility import check_fit, fill_in, fill_in_classes
from lm_jax.training.resolved import Setup
from lm_jax.training.setup import set_up
from lm_jax.training.sizes import count, parameter_shapes, units_of

TOLERANCE = 0.01
_BY: dict[str, tuple[str, ...]] = {
    "parameters": ("model.feedforward.ratio", "model.width"),
    "flops": ("budget",),
    "time": ("budget",),
}
_PARTS = 1000  # that a field with fractions is changed by
_FURTHEST = 64  # times as much as it was

# What an experiment costs.
Cost = Callable[[Experiment], float]
Progress = Callable[[str, int, int], None]


def matched(plan: Plan, progress: Progress | None = None) -> Plan:
    """Give each variant as much as what it is compared with, as the study asks.

    What was measured for a plan that its folder holds is taken from there.

    Args:
        plan: of the sweep; what is compared with stands before what is compared.
        progress: told (description, done, total).

    Raises:
        UserError: no value of the fields comes within 1%, with the closest; a variant
            can't be set up.
    """
    study, made = plan.study, dict[str, Variant]()
    if study.match is None:
        return plan
    kept, costs = _kept(plan), dict[str, Cost]()
    for done, variant in enumerate(plan.variants):
        if progress is not None:
            progress(f"matching {study.match}", done, len(plan.variants))
        if variant.name in kept:
            made[variant.name] = _again(variant, kept[variant.name])
            continue
        setup = _set_up(variant)
        costs[variant.name] = cost = _cost(study.match, setup)
        if variant.against is not None:
            if variant.against not in made:
                raise UserError(
                    f"study.match: '{variant.name}' is compared with "
                    f"'{variant.against}', which must stand before it."
                )
            goal = costs[variant.against](made[variant.against].experiment)
            variant = _brought(variant, setup, cost, goal, plan)
        made[variant.name] = variant
    if progress is not None:
        progress(f"matching {study.match}", len(made), len(made))
    check_different(tuple(made.values()))
    return replace(plan, variants=tuple(made.values()))


def _kept(plan: Plan) -> dict[str, dict | None]:
    """What was matched in the plan that a folder holds, where it was measured."""
    path = plan.folder / PLAN
    if plan.study.match != "time" or not path.exists():
        return {}
    before = read_plan(path)
    same = before["study"].get("match") == "time"
    kept = {name: found.get("matched") for name, found in before["variants"].items()}
    return kept if same and kept.keys() == {v.name for v in plan.variants} else {}


def _again(variant: Variant, kept: dict | None) -> Variant:
    """A variant with the change that was made to it before."""
    if kept is None:
        return variant
    found = Matched(**kept)
    values = {tuple(name.split(".")): new for name, (_, new) in found.changes.items()}
    return replace(
        variant, experiment=changed(variant.experiment, values), matched=found
    )


def _set_up(variant: Variant) -> Setup:
    try:
        return set_up(variant.experiment)
    except UserError as error:
        raise UserError(f"{variant.name}: {error}") from error


def _cost(match: str, setup: Setup) -> Cost:
    """What costs are counted by, for a variant and what is made of it."""
    data, objective = setup.data, setup.experiment.objective
    step = seconds_of_step(setup) if match == "time" else 0.0

    @cache
    def sizes(model: Any) -> tuple[int, Units]:
        params = parameter_shapes(model, objective, setup.example)
        return count(params), units_of(setup.order, data, model, params)

    def cost(experiment: Experiment) -> float:
        model = fill_in(experiment.model, data.vocab_size, data.context)
        model = fill_in_classes(model, len(data.labels))
        check_fit(experiment, data, model)
        parameters, units = sizes(model)
        if match == "parameters":
            return float(parameters)
        of_step = units.flops if match == "flops" else step
        return of_step * steps(experiment.budget, units, "budget")

    return cost


def _brought(
    variant: Variant, setup: Setup, cost: Cost, goal: float, plan: Plan
) -> Variant:
    """A variant that costs as much as asked, by the first field that reaches it.

    Raises:
        UserError: none does.
    """
    if abs(cost(variant.experiment) / goal - 1) <= TOLERANCE:
        return variant
    match = plan.study.match
    assert match is not None
    fields = plan.study.match_by or _BY[match]
    here = [each for each in fields if _number(each, variant.experiment, setup)]
    ways = [(field,) for field in here] + [tuple(reversed(here))]
    tried = []
    for way in ways:
        experiment = variant.experiment
        for field in way:
            experiment = _nearest(experiment, field, setup, cost, goal)
        found = _compared(variant, experiment, way, cost(experiment) / goal - 1)
        if way and abs(found.off) <= TOLERANCE:
            return replace(variant, experiment=experiment, matched=found)
        tried.append(found)
    has, wanted = (_figure(match, x) for x in (cost(variant.experiment), goal))
    said = (
        f"study.match: '{variant.name}' has {has}, '{variant.against}' has {wanted}, "
        "and nothing brings them within 1%."
    )
    if not here:
        raise UserError(
            f"{said} It has no number called {' or '.join(fields)} (match_by)."
        )
    near = min(tried, key=lambda each: abs(each.off))
    values = ", ".join(f"{name}={new}" for name, (_, new) in near.changes.items())
    raise UserError(
        f"{said} The closest is {values or 'as it is'} ({near.off:+.1%}). Name a field "
        "that changes it in smaller steps (match_by), or change the variant."
    )


def _compared(
    variant: Variant, experiment: Experiment, fields: tuple[str, ...], off: float
) -> Matched:
    """What was changed, of some fields."""
    changes = {}
    for field in fields:
        path = tuple(field.split("."))
        before, after = at(variant.experiment, path), at(experiment, path)
        if before != after:
            changes[field] = [before, after]
    return Matched(changes, off)


def _figure(match: str, amount: float) -> str:
    if match == "time":
        return f"{duration(amount)} of steps"
    return (
        f"{amount:,.0f} parameters" if match == "parameters" else f"{amount:.3e} FLOPs"
    )


def _number(field: str, experiment: Experiment, setup: Setup) -> int | None:
    """What is sought in a field, as it is now: whole numbers, thousandths, steps."""
    if field == "budget":
        return steps(experiment.budget, setup.units, "budget")
    value = at(experiment, tuple(field.split(".")))
    if isinstance(value, float):
        return max(1, round(value * _PARTS))
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _put(experiment: Experiment, field: str, number: int) -> Experiment:
    path = tuple(field.split("."))
    value: Any = number
    if field == "budget":
        value = f"{number} steps"
    elif isinstance(at(experiment, path), float):
        value = number / _PARTS
    found: Experiment = changed(experiment, {path: value})
    return found


def _nearest(
    experiment: Experiment, field: str, setup: Setup, cost: Cost, goal: float
) -> Experiment:
    """The experiment whose cost is nearest to a goal, of those with one field other."""

    def of(number: int) -> float | None:
        try:
            return cost(_put(experiment, field, number))
        except UserError:  # such as a width that heads don't divide
            return None

    start = _number(field, experiment, setup)
    assert start is not None
    return _put(experiment, field, solve(of, start, goal))


def solve(of: Callable[[int], float | None], start: int, goal: float) -> int:
    """The whole number whose amount is nearest to a goal.

    Args:
        of: the amount of a number, which grows with it; None where there is none.
        start: a number that has one.
        goal: of the amount.
    """
    amount = cache(of)
    low = high = start

    def less(number: int) -> bool:
        found = amount(number)
        return found is not None and found < goal

    def first(numbers: Iterator[int]) -> int | None:
        return next((n for n in numbers if amount(n) is not None), None)

    last = start * _FURTHEST
    while less(high) and (above := first(_from(2 * high, high + 1, last))) is not None:
        low, high = high, above
    while not less(low) and (below := first(_from(low // 2, 1, low - 1))) is not None:
        low, high = below, low
    while (middle := first(_between(low, high))) is not None:
        low, high = (middle, high) if less(middle) else (low, middle)
    return min(low, high, key=lambda n: abs((amount(n) or 0.0) - goal))


def _between(low: int, high: int) -> Iterator[int]:
    """The numbers between two others, those in the middle first."""
    return _from((low + high) // 2, low + 1, high - 1)


def _from(wanted: int, low: int, high: int) -> Iterator[int]:
    """The numbers of an interval, those nearest to one first."""
    for off in range(max(wanted - low, high - wanted, 0) + 1):
        for number in {wanted + off, wanted - off}:
            if low <= number <= high:
                yield number
