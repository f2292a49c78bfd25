"""The verdict table, whatever it is written as: cells of text by the name of a column.

Beside it what every form of a report says: which runs don't count, and what differs.
"""

from collections.abc import Iterator, Sequence

from lm_jax.report.gathered import Variant
from lm_jax.statistics import words
from lm_jax.statistics.report import Report

VARIANT, MEAN, DEVIATION, POINTS = "variant", "mean", "sd", "all seeds"
AGAINST, DIFFERENCE, T, PERMUTED = "against", "difference", "p by t", "p permuted"
VERDICT, PUBLISHED, AGREES = "verdict", "published", "agreement"
NUMBERS = (MEAN, DEVIATION, DIFFERENCE, T, PERMUTED, PUBLISHED)

Row = dict[str, str]


def heading(report: Report) -> str:
    """What a report measured, and when."""
    measure = report.measure.replace("_", " ")
    return f"Validation {measure} at the end of training"


def interval_of(report: Report) -> str:
    """The name of the column of intervals."""
    return words.interval_name(report)


def rows(report: Report) -> list[Row]:
    """A row for each variant, all with the same columns."""
    scores, differences = words.scores(report), words.differences(report)
    agreements = words.agreements(report)
    made = []
    for name, found in scores.items():
        row = {VARIANT: name, MEAN: found.mean, DEVIATION: found.deviation}
        row[POINTS] = " ".join(_points(report, name, found.points))
        if report.against:
            other = differences.get(name)
            if len(set(report.against.values())) > 1:
                row[AGAINST] = report.against.get(name, "")
            row[DIFFERENCE] = other.mean if other else ""
            row[interval_of(report)] = other.interval if other else ""
            row[T] = other.t if other else ""
            row[PERMUTED] = other.permutation if other else ""
            row[VERDICT] = verdict(report, name)
        if report.study.published:
            row[PUBLISHED] = words.effect_text(report, name)
            row[AGREES] = agreements.get(name, "")
        made.append(row)
    return made


def _points(report: Report, name: str, figures: list[str]) -> Iterator[str]:
    """The figure of each seed of a variant, or what became of it."""
    points = dict(zip(report.scores[name], figures, strict=True))
    for place, state in report.states.items():
        if place.variant == name:
            yield points.get(place.seed, f"({state.word})")


def verdict(report: Report, name: str) -> str:
    """The verdict on a variant, in a few words."""
    if name in report.comparisons:
        return report.comparisons[name].verdict
    return "no verdict" if name in report.against else "reference"


def lacking(report: Report) -> Iterator[str]:
    """Why runs don't count, where more is known than their state."""
    for place in report.lacking:
        word, told = report.states[place]
        if told:
            yield f"{place.title}, {word}: {told}"


def differing(variants: Sequence[Variant]) -> dict[str, list[str]]:
    """The fields in which variants differ from the first, and each one's value."""
    names = dict.fromkeys(name for v in variants for name in v.fields)
    found = {name: [v.fields.get(name, "-") for v in variants] for name in names}
    return {name: values for name, values in found.items() if len(set(values)) > 1}
