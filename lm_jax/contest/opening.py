"""Begin a contest, or find it again."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path

from lm_jax.contest.freezing import LEDGER, freeze, frozen
from lm_jax.contest.ledger import Ledger, Proposal, proposals
from lm_jax.contest.rules import fixed, refereed
from lm_jax.contest.value import Contest
from lm_jax.errors import UserError, nearest
from lm_jax.evaluation import Likelihood
from lm_jax.experiment import Experiment, digest
from lm_jax.experiment.loading import BASE, File
from lm_jax.runs.code import own_code
from lm_jax.runs.display import Display
from lm_jax.runs.rows import larger_is_better


def open_contest(file: File, folder: Path, display: Display) -> list[Proposal]:
    """Begin the contest of a file in its folder, or see that it is the one there.

    Args:
        file: with a `Contest` beside its experiment.
        folder: of the contest, held by this process.
        display: what a person sees.

    Returns:
        All proposals so far, the contest's own recipe first.

    Raises:
        UserError: the file has no contest, or another one is there.
    """
    contest, base = _of(file)
    recipe = refereed(base, base, contest)
    ledger = Ledger(folder / LEDGER)
    found = proposals(ledger.entries())
    if not found:
        with display.waiting(f"freezing {file.path}"):
            facts, setup = freeze(recipe, file.path, frozen(folder, 0))
        if contest.parameters is not None and setup.parameters > contest.parameters:
            raise UserError(
                f"contest.parameters is {contest.parameters:,}, and the experiment's "
                f"own model has {setup.parameters:,}."
            )
        measure, larger = _measured(contest, base, setup.planned.scores)
        ledger.append(
            "frozen",
            proposal=0,
            candidate=str(file.path),
            **facts,
            contest=dataclasses.asdict(contest),
            fixed=fixed(base, contest),
            measure=measure,
            larger_is_better=larger,
            data=setup.data.digest,
            test="test" in setup.data.splits,
            code=own_code()["sources"],
        )
        return proposals(ledger.entries())
    own = found[0].frozen
    if own["contest"] != dataclasses.asdict(contest) or own["digest"] != digest(recipe):
        raise UserError(
            f"{folder} holds the contest of {own['candidate']} as it was when it began "
            f"({own['time']}), and {file.path} asks for another: its contest or its "
            "experiment has changed. Put it back, or begin another one with --out."
        )
    return found


def _of(file: File) -> tuple[Contest, Experiment]:
    """The contest of a file, and its recipe.

    Raises:
        UserError: it has none.
    """
    contest, base = file.contest, file.experiments[BASE]
    if not isinstance(contest, Contest):
        raise UserError(
            f"{file.path} defines no 'contest = Contest(...)', of lm_jax.contest: it "
            "says what proposals compete for."
        )
    if not isinstance(base, Experiment):
        raise UserError(f"{file.path}: a contest is of recipes trained in steps.")
    return contest, base


def _measured(
    contest: Contest, base: Experiment, scores: Callable[[], Iterable[str]]
) -> tuple[str, bool]:
    """The measure, and whether more of it is better.

    Raises:
        UserError: there is no such score.
    """
    watched = base.evaluations[base.watch]
    names = tuple(scores()) if isinstance(watched, Likelihood) else (watched.watched,)
    measure = contest.measure or watched.watched
    if measure not in names:
        raise UserError(
            f"contest.measure '{measure}': {base.watch} gives no such score."
            f"{nearest(measure, names)}"
        )
    if measure == watched.watched:
        return measure, watched.larger_is_better
    return measure, larger_is_better([], ("validation", measure))
