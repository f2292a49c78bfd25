"""What a sweep found, in words and figures for people."""

import textwrap
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from rich.cells import cell_len, set_cell_size

from lm_jax.ablation import tune
from lm_jax.runs.figures import decimals, figure
from lm_jax.statistics.items import OverItems
from lm_jax.statistics.paired import smallest_p
from lm_jax.statistics.power import detectable
from lm_jax.statistics.report import Report
from lm_jax.statistics.verdicts import (
    INCONCLUSIVE,
    PERMUTATION_PAIRS,
    T_PAIRS,
    TOO_FEW,
    agreement,
)

_FEW = 8  # verdicts that are read one by one
_MOVED = {
    "order": "the order of the data",
    "initial": "initial values",
    "dropout": "dropout",
}


class Scores(NamedTuple):
    """The scores of a variant as figures: "-" where there are too few."""

    mean: str
    deviation: str
    points: list[str]


class Differences(NamedTuple):
    """A variant less what it is compared with, as figures."""

    mean: str
    deviation: str
    interval: str
    t: str
    permutation: str


def title(report: Report) -> str:
    """What was measured, and when in training."""
    measure = report.measure.replace("_", " ")
    return f"{report.folder}: validation {measure} at the end of training"


def scores(report: Report) -> dict[str, Scores]:
    """Mean, deviation and all points of each variant."""
    rows = {name: list(found.values()) for name, found in report.scores.items()}
    deviations = [np.std(each, ddof=1) for each in rows.values() if len(each) > 1]
    values = [value for each in rows.values() for value in each]
    digits = decimals(values, map(float, deviations))
    return {
        name: Scores(
            figure(float(np.mean(each)), digits) if each else "-",
            figure(float(np.std(each, ddof=1)), digits) if len(each) > 1 else "-",
            [figure(value, digits) for value in each],
        )
        for name, each in rows.items()
    }


def differences(report: Report) -> dict[str, Differences]:
    """Differences, their intervals and both p of each variant."""
    found = report.comparisons
    digits = decimals(
        [each.mean for each in found.values()],
        [each.deviation for each in found.values()],
    )
    made = {}
    for name, each in found.items():
        low, high = each.mean - each.interval, each.mean + each.interval
        made[name] = Differences(
            f"{each.mean:+.{digits}f}",
            f"{each.deviation:.{digits}f}",
            f"{low:+.{digits}f} to {high:+.{digits}f}",
            _p(each.t),
            _p(each.permutation),
        )
    return made


def interval_name(report: Report) -> str:
    """Such as "95% interval"."""
    return f"{100 * (1 - report.study.level):g}% interval"


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 1e-4 else "<0.0001"


def agreements(report: Report) -> dict[str, str]:
    """Whether what was published agrees, of each variant of which an effect was.

    Before there is a verdict, nobody can tell.
    """
    return {
        name: agreement(effect, report.comparisons[name], report.measure)
        if name in report.comparisons
        else "can't tell"
        for name, effect in report.study.published.items()
    }


def sentences(report: Report) -> list[str]:
    """The verdict on each variant, what was published of it, what verdicts rest on.

    While there is none, why.
    """
    if not report.planned:
        return list(_not_planned(report))
    if not (report.comparisons or report.targets):
        return [_no_verdict(report)]
    study, many = report.study, len(report.comparisons)
    told = [
        *_verdicts(report),
        *_over_items(report),
        *_published(report),
        *_targets(report),
    ]
    told += _moved(report)
    return [*told, basis(study.seeds, study.level, many)] if many else told


def _verdicts(report: Report) -> Iterator[str]:
    """The verdict on each variant; where many have none, that in one sentence."""
    study, many = report.study, len(report.comparisons)
    references = set(report.against.values())
    same = {each.verdict for each in report.comparisons.values()} == {TOO_FEW}
    same &= len(references) == 1 and not any(report.withheld.values())
    if same and many > _FEW:
        yield f"All {many} against {references.pop()}: {TOO_FEW}."
        return
    for name, found in report.comparisons.items():
        verdict = f"{name} against {report.against[name]}: {found.verdict}."
        if found.verdict == INCONCLUSIVE:
            verdict += detected(study.seeds, study.level / many, found.deviation)
        yield f"{verdict} {report.withheld.get(name, '')}".strip()


def _over_items(report: Report) -> Iterator[str]:
    """Differences over the items of the split, where all runs kept them."""
    for name, found in report.items.items():
        level = report.study.level / len(report.comparisons)
        yield f"{name} less {report.against[name]} {over(found, level)}"


def _moved(report: Report) -> Iterator[str]:
    """What the seeds move, where that isn't all that is random."""
    if report.study.vary != "all":
        yield (
            f"Seeds move {_MOVED[report.study.vary]} alone: spread and verdicts are of "
            "that, with the rest as it is with seed 0."
        )


def _no_verdict(report: Report) -> str:
    lacking = [(place, report.states[place].word) for place in report.lacking]
    many = f"{len(lacking)} of {len(report.states)} runs"
    named = "; ".join(f"{place.title}: {word}" for place, word in lacking)
    why = f"{many} don't count ({named})" if lacking else "a score is not finite"
    lost = "".join(
        f" Every trial of {name} diverged, so that nothing can be chosen: give "
        "study.tune values that train, in another folder (--out)."
        for name in hopeless(report)
    )
    return f"No verdict: {why}.{lost}"


def hopeless(report: Report) -> list[str]:
    """The variants of which every trial diverged: no sweep goes on from there."""
    tried: dict[str, set[str]] = {}
    for place, state in report.states.items():
        if place.trial is not None:
            tried.setdefault(place.variant, set()).add(state.word)
    return [name for name, found in tried.items() if found == {"diverged"}]


def _not_planned(report: Report) -> Iterator[str]:
    """Why runs that were put together afterwards are not judged."""
    if lacking := report.lacking:
        named = "; ".join(f"{p.title}: {report.states[p].word}" for p in lacking)
        yield f"Without a score, since they have not ended: {named}."
    if report.comparisons:
        yield (
            "No verdict: no sweep's plan stood before these runs. Differences are "
            "those of the seeds that both have, each with an interval of its own."
        )


def _published(report: Report) -> Iterator[str]:
    """Published effects beside ours."""
    ours, agree = differences(report), agreements(report)
    for name, effect in report.study.published.items():
        yield (
            f"{name}: {effect_text(report, name)} was published ({effect.source}), "
            f"{ours[name].mean} is ours: {agree[name]}."
        )


def _targets(report: Report) -> Iterator[str]:
    """Means beside the study's target."""
    study, many = report.study, len(report.targets)
    holm = f", by Holm's procedure over {many} variants" if many > 1 else ""
    for name, p in report.targets.items():
        better = "better than" if p < study.level else "not shown better than"
        if study.seeds < T_PAIRS:
            better = f"not judged (that needs {T_PAIRS} seeds) beside"
        yield (
            f"{name}: {scores(report)[name].mean} is {better} the target of "
            f"{study.target:g} (p {_p(p)}, one-sided t of {study.seeds} seeds{holm})."
        )


def effect_text(report: Report, name: str) -> str:
    """A published effect, with its measure where that is another; "" of none."""
    effect = report.study.published.get(name)
    if effect is None:
        return ""
    other = effect.measure not in (None, report.measure)
    measure = f" {str(effect.measure).replace('_', ' ')}" if other else ""
    return f"{effect.effect:+g}{measure}"


def over(found: OverItems, level: float) -> str:
    """A difference over items, and what its interval is of."""
    digits = decimals([found.mean], [(found.high - found.low) / 4])
    low, high = (f"{value:+.{digits}f}" for value in (found.low, found.high))
    return (
        f"over {found.items:,} items {found.mean:+.{digits}f}, {100 * (1 - level):g}% "
        f"interval {low} to {high} by bootstrap: what other items would give with "
        "these trained models; of other seeds it says nothing."
    )


def detected(pairs: int, level: float, deviation: float) -> str:
    """What so many seeds would have detected."""
    least = detectable(pairs, level)
    if least is None:
        return f" No difference is large enough for {pairs} seeds to detect."
    return (
        f" {pairs} seeds detect a difference of {least * deviation:.2g} four times in "
        "five."
    )


def basis(pairs: int, level: float, many: int = 1) -> str:
    """What verdicts of so many pairs rest on, and intervals of so many variants."""
    holm = f", by Holm's procedure over {many} variants" if many > 1 else ""
    at_once = f" All {many} intervals hold at once (Bonferroni)." if many > 1 else ""
    least = smallest_p(pairs)
    reach = f"can't reach a p below {round(least, 4) or f'{least:.2g}'}."
    if pairs < T_PAIRS:
        rests = f"From {T_PAIRS} seeds on there are verdicts."
        return f"{rests} By permutation {pairs} pairs {reach}{at_once}"
    if pairs < PERMUTATION_PAIRS:
        rests = f"Verdicts rest on Student's t at level {level:g}{holm}:"
        normal = f"differences are taken for normal. By permutation {pairs} pairs"
        return f"{rests} {normal} {reach}{at_once}"
    rests = f"Verdicts rest on exact permutations at level {level:g}{holm}:"
    student = "No difference rests on Student's interval."
    return f"{rests} {pairs} pairs {reach} {student}{at_once}"


def lines(report: Report, width: int = 80) -> Iterator[str]:
    """The report for people, in lines of at most so many columns."""
    yield title(report)
    yield from _score_lines(report, width)
    if report.chosen:
        yield from tune.lines(report.study, report.chosen, width)
    if report.comparisons:
        yield from _difference_lines(report)
    *judged, last = sentences(report)
    for sentence in judged:
        yield from textwrap.wrap(sentence, width, subsequent_indent="    ")
    yield from textwrap.wrap(last, width)


def _room(report: Report) -> int:
    return max(map(cell_len, report.scores))


def _score_lines(report: Report, width: int) -> Iterator[str]:
    found, room = scores(report), _room(report)
    wide = max((len(p) for each in found.values() for p in each.points), default=6)
    seeds = f"of seeds 0 to {report.study.seeds - 1}"
    yield f"  {'':{room}}  {'mean':>{wide}}  {'sd':>{wide}}  {seeds}"
    for name, each in found.items():
        before = f"  {each.mean:>{wide}}  {each.deviation:>{wide}}  "
        before = f"  {set_cell_size(name, room)}{before}"
        yield from textwrap.wrap(
            " ".join(each.points) or "-",
            max(width, len(before) + wide),
            initial_indent=before,
            subsequent_indent=" " * cell_len(before),
        )


def _difference_lines(report: Report) -> Iterator[str]:
    heads = ("difference", "sd", interval_name(report), "p by t", "permuted")
    rows: dict[str, tuple[str, ...]] = {"": heads, **differences(report)}
    widths = [max(map(len, column)) for column in zip(*rows.values(), strict=True)]
    for name, row in rows.items():
        cells = [f"{cell:>{n}}" for cell, n in zip(row, widths, strict=True)]
        yield f"  {set_cell_size(name, _room(report))}  {'  '.join(cells)}"
