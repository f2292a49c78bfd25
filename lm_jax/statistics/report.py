"""What a sweep found: scores, differences, and what is missing."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lm_jax.ablation.plan import Place, Plan, place_of
from lm_jax.ablation.plan_file import read_plan
from lm_jax.ablation.states import State, look_at
from lm_jax.ablation.study import Study
from lm_jax.ablation.tune import THROUGH, Chosen, at_edge, read_chosen
from lm_jax.errors import UserError
from lm_jax.runs.result import find_scores, read_result
from lm_jax.runs.rows import Ended, Row, larger_is_better
from lm_jax.runs.trials import PLAN
from lm_jax.statistics.budgets import Side, unfair
from lm_jax.statistics.items import OverItems, over_items
from lm_jax.statistics.paired import holm, t_test_of_mean
from lm_jax.statistics.verdicts import NO_VERDICT, Comparison, compare


@dataclass(frozen=True)
class Report:
    """What is known of a sweep, or of runs beside each other.

    Attributes:
        folder: of its runs.
        study: what is asked.
        against: what each variant is compared with, by name.
        states: of each run.
        measure: the score, of the whole validation split at the last step.
        scores: by variant and seed, of the runs that ended.
        comparisons: by variant; none while a run is missing.
        items: the same over the items of the split, of those whose runs kept them.
        targets: p of a mean no better than the study's target, by variant, adjusted
            for all of them; none while a run is missing.
        chosen: what was tuned, by variant; none before that is through.
        withheld: why there is no verdict on a variant, by name; "" where there is one.
        signal: that stopped the sweep, if one did.
        planned: whether a plan stood before the runs: else there are no verdicts.
    """

    folder: Path
    study: Study
    against: Mapping[str, str]
    states: Mapping[Place, State]
    measure: str
    scores: Mapping[str, Mapping[int, float]]
    comparisons: Mapping[str, Comparison]
    items: Mapping[str, OverItems] = field(default_factory=dict)
    targets: Mapping[str, float] = field(default_factory=dict)
    chosen: Mapping[str, Chosen] = field(default_factory=dict)
    withheld: Mapping[str, str] = field(default_factory=dict)
    signal: int | None = None
    planned: bool = True

    @property
    def lacking(self) -> list[Place]:
        """The runs for want of which there is no verdict."""
        return [c for c, state in self.states.items() if state.word not in THROUGH]


def measure_of(plan: Plan) -> str:
    """The score that is compared: the study's, or what the experiments watch."""
    experiment = plan.variants[0].experiment
    watched = experiment.evaluations[experiment.watch].watched
    return plan.study.measure or str(watched)


def make_report(
    plan: Plan,
    states: Mapping[Any, State],
    chosen: Mapping[str, Chosen] | None = None,
    signal: int | None = None,
) -> Report:
    """Read the scores of what has ended, and compare them if that is all.

    Raises:
        UserError: a result can't be read.
    """
    report = Report(
        plan.folder, plan.study, plan.against, states, measure_of(plan), {}, {}
    )
    return _scored(replace(report, chosen=chosen or {}, signal=signal))


def read_report(folder: Path) -> Report:
    """The report of a sweep from its folder alone: nothing of its file is executed.

    Raises:
        UserError: its plan or a result can't be read.
    """
    path = folder / PLAN
    planned, tuned = read_plan(path), read_chosen(folder)
    try:
        study = Study.from_written(planned["study"])
        variants, code = planned["variants"], planned["code"]
        against = {k: v["against"] for k, v in variants.items() if v["against"]}
        recipes = {name: variants[name]["digest"] for name in variants}
        chosen = {name: found.chosen for name, found in tuned.items()}
        recipes |= {name: found.recipe for name, found in tuned.items()}
        states = {
            place: look_at(place.run, recipes[name], seed, code)
            if chosen or not study.tune
            else State("missing")
            for seed in range(study.seeds)
            for name in variants
            for place in [Place(name, seed, place_of(folder, name, seed))]
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} can't be read: it lacks {error}.") from error
    measure = study.measure or _watched(states)
    report = Report(folder, study, against, states, measure, {}, {}, chosen=chosen)
    return _scored(report)


def _watched(states: Mapping[Place, State]) -> str:
    """The score that the first run that ended was judged by; before that, the loss."""
    for place, state in states.items():
        if state.word == "ended" and (best := read_result(place.run)["best"]):
            return next(name for name in best if name != "step")
    return "loss"


def _scored(report: Report) -> Report:
    """Put in the scores of what has ended, and compare them if that is all."""
    cells = [place for place in report.states if place.trial is None]
    ended = [place for place in cells if report.states[place].word == "ended"]
    results = {place: Ended(place.run, read_result(place.run)) for place in ended}
    scores: dict[str, dict[int, float]] = {place.variant: {} for place in cells}
    for place, found in results.items():
        value = find_scores(found.result, "validation", "end")[report.measure]
        scores[place.variant][place.seed] = value
    values = [value for found in scores.values() for value in found.values()]
    report = replace(report, scores=scores)
    if len(ended) < len(cells) or not all(map(math.isfinite, values)):
        return report
    rows = [Row("", tuple(results.values()))]
    larger = larger_is_better(rows, ("validation", report.measure))
    report = replace(report, withheld=_withheld(report, results))
    return replace(
        report,
        comparisons=_compared(report, scores, larger),
        items=_over_items(report, results),
        targets=_tested(report, larger),
    )


def _withheld(report: Report, results: Mapping[Place, Ended]) -> dict[str, str]:
    """Why there is no verdict on a variant, by name."""
    runs: dict[str, list[Ended]] = {name: [] for name in report.scores}
    for place, result in results.items():
        runs[place.variant].append(result)
    found = {}
    for name, other in report.against.items():
        edge = at_edge(report.chosen, (name, other))
        sides = Side(name, runs[name]), Side(other, runs[other])
        reasons = edge, *unfair(*sides, report.study.match)
        found[name] = " ".join(filter(None, reasons))
    return found


def _over_items(report: Report, results: Mapping[Place, Ended]) -> dict[str, OverItems]:
    """Each variant less its reference, over the items that all their runs kept."""
    runs = {(place.variant, place.seed): run for place, run in results.items()}
    found = {}
    for name, other in report.against.items():
        seeds = sorted(seed for variant, seed in runs if variant == name)
        pairs = [(runs[other, seed], runs[name, seed]) for seed in seeds]
        level = report.study.level / len(report.against)
        if over := over_items(pairs, ("validation", report.measure), level):
            found[name] = over
    return found


def _tested(report: Report, larger: bool) -> dict[str, float]:
    """Each variant's mean beside the target, if the study has one; by Holm."""
    target = report.study.target
    if target is None:
        return {}
    found = [
        t_test_of_mean(np.array(list(each.values())), target, larger)
        for each in report.scores.values()
    ]
    return dict(zip(report.scores, holm(np.array(found)).tolist(), strict=True))


def _compared(
    report: Report, scores: dict[str, dict[int, float]], larger: bool
) -> dict[str, Comparison]:
    """Each variant less its reference, by seed."""
    if not report.against:
        return {}
    table = {
        name: np.array([found[seed] for seed in sorted(found)])
        for name, found in scores.items()
    }
    pairs = [table[name] - table[other] for name, other in report.against.items()]
    made = compare(np.stack(pairs), report.study, larger)
    found = dict(zip(report.against, made, strict=True))
    for name, why in report.withheld.items():
        if why:
            found[name] = replace(found[name], verdict=NO_VERDICT)
    return found
