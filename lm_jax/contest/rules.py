"""Which fields of a recipe a contest fixes, and what runs in it."""

from dataclasses import replace

from lm_jax.contest.value import Contest
from lm_jax.errors import UserError
from lm_jax.experiment import AnyExperiment, Difference, Experiment, differences
from lm_jax.experiment.comparing import own_kinds

ALWAYS = ("data", "watch", "initial", "patience", "held")
"""What every contest fixes, beside the evaluation that is watched."""


def fixed(base: Experiment, contest: Contest) -> tuple[str, ...]:
    """The fields that all recipes of a contest share, with all that is below them.

    Where a budget is spent, that is one; a budget in steps would grow with the batch.
    """
    found: tuple[str, ...] = (*ALWAYS, f"evaluations.{base.watch}")
    if contest.reach is None:
        found = (*found, "budget")
        if "step" in base.budget:
            found = (*found, "batch")
    return found


def check(base: Experiment, candidate: AnyExperiment, contest: Contest) -> Experiment:
    """See that a recipe may compete.

    Args:
        base: the contest's own recipe.
        candidate: what is proposed.
        contest: what is competed for.

    Returns:
        The candidate.

    Raises:
        UserError: it differs in a fixed field, with both values; or counts its own
            FLOPs where they are the budget.
    """
    if not isinstance(candidate, Experiment):
        raise UserError(
            "The candidate is fitted by counting: a contest is of recipes that are "
            "trained in steps."
        )
    names = fixed(base, contest)
    changed = [
        each
        for each in differences(base, candidate)
        if any(each.name == name or each.name.startswith(f"{name}.") for name in names)
    ]
    if changed:
        lines = "\n".join(_told(each) for each in changed)
        raise UserError(
            f"The candidate differs in what this contest fixes ({', '.join(names)}):\n"
            f"{lines}\nAll else in a recipe may be changed."
        )
    if contest.reach is None and "flop" in base.budget and own_kinds(candidate):
        raise UserError(
            "The candidate has classes of its own, which would count their own FLOPs, "
            "and these are the budget. Propose what lm_jax has, or give the contest a "
            "budget in tokens."
        )
    return candidate


def _told(each: Difference) -> str:
    return f"  {each.name}: {each.a} in the contest, {each.b} in the candidate"


def refereed(base: Experiment, recipe: Experiment, contest: Contest) -> Experiment:
    """What runs: a recipe with all that is fixed, and is no recipe, of the contest.

    The referee's seeds move everything that is random: a recipe that held a part would
    be judged by one draw of it, however lucky.

    Args:
        base: the contest's own recipe: data, evaluation and execution are its own.
        recipe: that was checked.
        contest: what is competed for.
    """
    return replace(
        recipe,
        data=base.data,
        evaluations={base.watch: base.evaluations[base.watch]},
        watch=base.watch,
        initial=base.initial,
        patience=base.patience,
        held=(),
        budget=base.budget if contest.reach is None else recipe.budget,
        execution=base.execution,
        outputs=(),
        published=None,
    )
