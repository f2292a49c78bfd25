"""What a sweep found: scores, differences, verdicts, and what is missing."""

import math
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from lm_jax.ablation import tune
from lm_jax.ablation.paired import smallest_p
from lm_jax.ablation.plan import Cell, Plan
from lm_jax.ablation.power import detectable
from lm_jax.ablation.states import State
from lm_jax.ablation.tune import Chosen
from lm_jax.ablation.verdicts import (
    INCONCLUSIVE,
    NO_VERDICT,
    PERMUTATION_PAIRS,
    T_PAIRS,
    Comparison,
    compare,
)
from lm_jax.runs.figures import decimals, figure
from lm_jax.runs.result import find_scores, read_result
from lm_jax.runs.rows import Ended, Row, larger_is_better


@dataclass(frozen=True)
class Report:
    """What is known of a sweep.

    Attributes:
        plan: that was carried out.
        states: of each cell.
        measure: the score, of the whole validation split at the last step.
        scores: by variant and seed, of the cells that ended.
        comparisons: by variant; none while a cell is missing.
        chosen: what was tuned, by variant; none before that is through.
        signal: that stopped the sweep, if one did.
    """

    plan: Plan
    states: dict[Cell, State]
    measure: str
    scores: dict[str, dict[int, float]]
    comparisons: dict[str, Comparison]
    chosen: Mapping[str, Chosen] = field(default_factory=dict)
    signal: int | None = None

    @property
    def lacking(self) -> list[Cell]:
        """The cells for want of which there is no verdict."""
        counted = ("ended", "diverged")
        return [c for c, state in self.states.items() if state.word not in counted]

    def lines(self, width: int = 80) -> Iterator[str]:
        """The report for people, in lines of at most so many columns."""
        yield from _scores(self, width)
        if self.chosen:
            yield from tune.lines(self.plan, self.chosen, width)
        if self.comparisons:
            yield from _differences(self)
            yield from _verdicts(self, width)
            return
        lacking = [(cell, self.states[cell].word) for cell in self.lacking]
        many = f"{len(lacking)} of {len(self.states)} runs"
        named = "; ".join(f"{cell.title}: {word}" for cell, word in lacking)
        why = f"{many} don't count ({named})" if lacking else "a score is not finite"
        yield from textwrap.wrap(f"No verdict: {why}.", width)


def measure_of(plan: Plan) -> str:
    """The score that is compared: the study's, or what the experiments watch."""
    experiment = plan.variants[0].experiment
    watched = experiment.evaluations[experiment.watch].watched
    return plan.study.measure or str(watched)


def make_report(
    plan: Plan,
    states: dict[Cell, State],
    chosen: Mapping[str, Chosen] | None = None,
    signal: int | None = None,
) -> Report:
    """Read the scores of what has ended, and compare them if that is all.

    Raises:
        UserError: a result can't be read.
    """
    measure = measure_of(plan)
    ended = [cell for cell in plan.cells if states[cell].word == "ended"]
    results = {cell: Ended(cell.run, read_result(cell.run)) for cell in ended}
    scores: dict[str, dict[int, float]] = {each.name: {} for each in plan.variants}
    for cell, found in results.items():
        value = find_scores(found.result, "validation", "end")[measure]
        scores[cell.variant][cell.seed] = value
    values = [value for found in scores.values() for value in found.values()]
    comparisons: dict[str, Comparison] = {}
    if len(ended) == len(plan.cells) and all(map(math.isfinite, values)):
        rows = [Row("", tuple(results.values()))]
        larger = larger_is_better(rows, ("validation", measure))
        comparisons = _compared(plan, scores, larger)
        for each in plan.compared():
            if tune.at_edge(chosen or {}, (each.name, str(each.against))):
                judged = comparisons[each.name]
                comparisons[each.name] = replace(judged, verdict=NO_VERDICT)
    return Report(plan, states, measure, scores, comparisons, chosen or {}, signal)


def _compared(
    plan: Plan, scores: dict[str, dict[int, float]], larger: bool
) -> dict[str, Comparison]:
    """Each variant less its reference, by seed."""
    table = {
        name: np.array([found[seed] for seed in sorted(found)])
        for name, found in scores.items()
    }
    compared = plan.compared()
    pairs = [table[each.name] - table[str(each.against)] for each in compared]
    made = compare(np.stack(pairs), plan.study, larger)
    return dict(zip((each.name for each in compared), made, strict=True))


def _scores(report: Report, width: int) -> Iterator[str]:
    """Mean, deviation and all points of each variant."""
    study, room = report.plan.study, _room(report)
    measure = report.measure.replace("_", " ")
    rows = {name: list(found.values()) for name, found in report.scores.items()}
    deviations = [np.std(each, ddof=1) for each in rows.values() if len(each) > 1]
    values = [value for each in rows.values() for value in each]
    digits = decimals(values, map(float, deviations))
    wide = max((len(figure(value, digits)) for value in values), default=6)
    yield f"{report.plan.folder}: validation {measure} at the end of training"
    seeds = f"of seeds 0 to {study.seeds - 1}"
    yield f"{'':{room}}  {'mean':>{wide}}  {'sd':>{wide}}  {seeds}"
    for name, each in rows.items():
        mean = figure(float(np.mean(each)), digits) if each else "-"
        spread = figure(float(np.std(each, ddof=1)), digits) if len(each) > 1 else "-"
        points = " ".join(figure(value, digits) for value in each)
        before = f"  {name:{room - 2}}  {mean:>{wide}}  {spread:>{wide}}  "
        yield from textwrap.wrap(
            points or "-",
            max(width, len(before) + wide),
            initial_indent=before,
            subsequent_indent=" " * len(before),
        )


def _room(report: Report) -> int:
    return max(len(name) for name in report.scores) + 2


def _differences(report: Report) -> Iterator[str]:
    """Differences, their intervals and both p of each variant."""
    found = report.comparisons
    digits = decimals(
        [each.mean for each in found.values()],
        [each.deviation for each in found.values()],
    )
    level = 100 * (1 - report.plan.study.level)
    heads = ("difference", "sd", f"{level:g}% interval", "p by t", "permuted")
    table = [heads]
    for each in found.values():
        low, high = each.mean - each.interval, each.mean + each.interval
        table.append(
            (
                f"{each.mean:+.{digits}f}",
                f"{each.deviation:.{digits}f}",
                f"{low:+.{digits}f} to {high:+.{digits}f}",
                _p(each.t),
                _p(each.permutation),
            )
        )
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    names = ["", *found]
    for name, line in zip(names, table, strict=True):
        cells = [f"{cell:>{n}}" for cell, n in zip(line, widths, strict=True)]
        yield f"  {name:{_room(report) - 2}}  {'  '.join(cells)}"


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 1e-4 else "<0.0001"


def _verdicts(report: Report, width: int) -> Iterator[str]:
    """A sentence for each variant, and what they rest on."""
    study, many = report.plan.study, len(report.comparisons)
    for each in report.plan.compared():
        found = report.comparisons[each.name]
        told = f"{each.name} against {each.against}: {found.verdict}."
        if found.verdict == INCONCLUSIVE:
            told += _seen(study.seeds, study.level / many, found.deviation)
        told += tune.at_edge(report.chosen, (each.name, str(each.against)))
        yield from textwrap.wrap(told, width, subsequent_indent="    ")
    yield from textwrap.wrap(_basis(study.seeds, study.level, many), width)


def _seen(pairs: int, level: float, deviation: float) -> str:
    """What so many seeds would have detected."""
    least = detectable(pairs, level)
    if least is None:
        return f" No difference is large enough for {pairs} seeds to detect."
    return (
        f" {pairs} seeds detect a difference of {least * deviation:.2g} four times in "
        "five."
    )


def _basis(pairs: int, level: float, many: int) -> str:
    """What verdicts of so many pairs rest on."""
    holm = f", by Holm's procedure over {many} variants" if many > 1 else ""
    reach = f"{smallest_p(pairs):.2g}"
    if pairs < T_PAIRS:
        return (
            f"From {T_PAIRS} seeds on there are verdicts. By permutation {pairs} pairs "
            f"can't reach a p below {reach}."
        )
    if pairs < PERMUTATION_PAIRS:
        return (
            f"Verdicts rest on Student's t at level {level:g}{holm}: differences are "
            f"taken for normal. By permutation {pairs} pairs can't reach a p below "
            f"{reach}."
        )
    return (
        f"Verdicts rest on exact permutations at level {level:g}{holm}: {pairs} pairs "
        f"can't reach a p below {reach}. No difference rests on Student's interval."
    )
