"""Runs that no sweep's plan stood before: put into variants, and compared."""

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lm_jax.ablation.plan import Place
from lm_jax.ablation.states import State
from lm_jax.ablation.study import Study
from lm_jax.errors import UserError
from lm_jax.experiment import digest, leaves, read
from lm_jax.report.gathered import Progress, Variant, members
from lm_jax.runs.directory import NOT_TRAINED, in_use, is_given
from lm_jax.runs.result import find_scores, has_ended
from lm_jax.runs.rows import Ended, Row, larger_is_better
from lm_jax.statistics.report import Report
from lm_jax.statistics.verdicts import NOT_PLANNED, Comparison, compare


class Found(NamedTuple):
    """A run that is in no sweep that was asked for."""

    path: Path
    experiment: Any
    recipe: str


def of_lone(
    found: list[Found], progress: Progress | None
) -> tuple[Report, list[Variant]]:
    """Runs that no plan stood before, as variants of one report."""
    groups = _grouped(found)
    places = {
        each.path: Place(name, getattr(each.experiment, "seed", 0), each.path)
        for name, group in groups.items()
        for each in group
    }
    states = {place: _state(place.run) for place in places.values()}
    begun = members(list(places.values()), states, progress)
    variants = [
        Variant(
            name,
            tuple(m for m in begun if m.place.variant == name),
            {
                leaf.name: leaf.text
                for leaf in leaves(group[0].experiment)
                if leaf.part == "recipe" and leaf.name != "seed"
            },
        )
        for name, group in groups.items()
    ]
    first = found[0].experiment
    measure = str(first.evaluations[first.watch].watched)
    return _report(variants, states, measure), variants


def _grouped(found: list[Found]) -> dict[str, list[Found]]:
    """Runs of one recipe together, by a name; a seed that comes twice stands apart."""
    folders = {each.path: _folder(each.path) for each in found}
    seeds = [(each.recipe, getattr(each.experiment, "seed", 0)) for each in found]
    groups: dict[tuple[str, Any], list[Found]] = defaultdict(list)
    twice = {recipe for recipe, seed in seeds if seeds.count((recipe, seed)) > 1}
    for each in found:
        apart = folders[each.path] if each.recipe in twice else None
        groups[each.recipe, apart].append(each)
    firsts = [folders[group[0].path] for group in groups.values()]
    if len(set(firsts)) < len(firsts):  # several recipes in a folder
        firsts = [group[0].path.absolute() for group in groups.values()]
    above = os.path.commonpath([first.parent for first in firsts])
    names = [first.relative_to(above).as_posix() for first in firsts]
    return dict(zip(names, groups.values(), strict=True))


def _folder(run: Path) -> Path:
    """Of a run's variant: the one above its seed's."""
    run = run.absolute()
    return run.parent if run.name.startswith("seed") else run


def _state(run: Path) -> State:
    if in_use(run):
        return State("running", "by another process")
    try:
        if has_ended(run):
            return State("ended")
    except UserError as error:
        return State("failed", str(error))
    return State("stopped", NOT_TRAINED if is_given(run) else "")


def _report(
    variants: list[Variant], states: Mapping[Place, State], measure: str
) -> Report:
    """Scores, and differences to the first variant, without a verdict."""
    scores: dict[str, dict[int, float]] = {}
    ended = []
    for variant in variants:
        scores[variant.name] = {}
        for member in variant.members:
            if member.result:
                found = find_scores(member.result, "validation", "end")
                if measure in found:  # else it is refused later, with the reason
                    scores[variant.name][member.place.seed] = found[measure]
                ended.append(Ended(member.place.run, member.result))
    first, *others = variants
    study = Study(measure=measure)
    larger = larger_is_better([Row("", tuple(ended))], ("validation", measure))
    comparisons = {}
    for other in others:
        pairs = _pairs(scores[other.name], scores[first.name])
        if len(pairs) > 1:
            comparisons[other.name] = _unjudged(pairs, study, larger)
    folders = [str(_folder(place.run).parent) for place in states]
    folder = Path(os.path.relpath(os.path.commonpath(folders)))
    if len(states) == 1:
        folder = next(iter(states)).run
    against = {other.name: first.name for other in others}
    return Report(
        folder, study, against, states, measure, scores, comparisons, planned=False
    )


def _pairs(a: Mapping[int, float], b: Mapping[int, float]) -> list[float]:
    found = [a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())]
    return [difference for difference in found if math.isfinite(difference)]


def _unjudged(pairs: list[float], study: Study, larger: bool) -> Comparison:
    (found,) = compare(np.array([pairs]), study, larger)
    return replace(found, verdict=NOT_PLANNED)


def lone_runs(runs: Iterable[Path]) -> list[Found]:
    """Read the experiments of runs, each run once."""
    found = []
    for run in {run.resolve(): run for run in runs}.values():
        experiment = read(run)
        found.append(Found(run, experiment, digest(experiment)))
    return found
