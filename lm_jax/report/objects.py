"""A report as values, for other programs."""

from typing import Any

from lm_jax.report.papers import variant_lines
from lm_jax.statistics import words
from lm_jax.statistics.report import Report


def as_object(report: Report) -> dict[str, Any]:
    """All that a report knows, by name; what isn't known is None.

    Returns:
        "folder", "measure" and "planned"; "runs", each with variant, seed, trial,
        directory and state; "variants", each as a line of the CSV has it; "tuned", the
        values chosen for each variant; "sentences", as people read them.
    """
    return {
        "folder": report.folder,
        "measure": report.measure,
        "planned": report.planned,
        "runs": [
            {
                "variant": place.variant,
                "seed": place.seed,
                "trial": place.trial,
                "run": place.run,
                "state": state.word,
            }
            for place, state in report.states.items()
        ],
        "variants": [
            {name: None if value == "" else value for name, value in line.items()}
            for line in variant_lines(report)
        ],
        "tuned": {name: dict(each.values) for name, each in report.chosen.items()},
        "sentences": words.sentences(report),
    }
