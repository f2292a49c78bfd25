"""What is known of a run before its first step: how long, how often, which scores."""

from typing import Any

import jax

from lm_jax.data import Prepared
from lm_jax.durations import Units, steps
from lm_jax.evaluation.fitted import Planned
from lm_jax.evaluation.neural_cache import NOT_CARRIED
from lm_jax.experiment import Experiment
from lm_jax.objectives import Guide
from lm_jax.runs.model import without_vectors
from lm_jax.schedules import Curve
from lm_jax.training.guides import Guided
from lm_jax.training.step import numbered


def length_of(experiment: Experiment, units: Units) -> tuple[Curve, int]:
    """The learning rate of each step, and how many there are."""
    total = steps(experiment.budget, units, "budget")
    return experiment.schedule.curve(total, units), total


def cadences(experiment: Experiment, units: Units, total: int) -> dict[str, int]:
    """Steps between evaluations; those that don't say go with the watched one."""
    watched = experiment.evaluations[experiment.watch].every or ""
    found = {
        name: steps(evaluation.every or watched, units, f"evaluations.{name}.every")
        for name, evaluation in experiment.evaluations.items()
    }
    return {name: max(1, min(total, every)) for name, every in found.items()}


def known_scores(
    experiment: Experiment,
    data: Prepared,
    model: Any,
    params: Any,
    example: Any,
    guided: Guided | None,
) -> Planned:
    """What is known of the scores of a run that has not begun.

    Args:
        experiment: of the run.
        data: made ready.
        model: with all that the data decided filled in.
        params: the shapes of its parameters.
        example: a batch of one row.
        guided: the teacher or reference that it learns beside; None is none.
    """
    objective = experiment.objective

    def scores() -> dict[str, float]:
        carry = model.empty_cache(1, 0) if data.lanes else None
        other = guided and Guide(guided.model, guided.params)
        more = (other,) if objective.guided_scores else ()
        sums = jax.eval_shape(
            lambda p: objective(model, p, numbered(example), None, carry, *more), params
        )
        ones = dict.fromkeys((*sums.metrics, "weight"), 1.0)
        return objective.scores(ones, data.splits["validation"].coded)

    uncached = None if data.lanes else NOT_CARRIED
    return Planned(
        *(scores, uncached, without_vectors(model), objective.tells, objective.ranks),
        pairs=objective.generates and data.pairs is not None,
        labels=data.labels or (),
    )
