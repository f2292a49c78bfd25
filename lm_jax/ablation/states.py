"""What became of each cell of a sweep, as its run directory tells."""

from pathlib import Path
from typing import Literal, NamedTuple

from lm_jax.ablation.plan import Cell
from lm_jax.errors import UserError
from lm_jax.experiment import differences, digest, own_source, read
from lm_jax.experiment.names import COPY
from lm_jax.files import atomic_write
from lm_jax.runs.code import codes_of
from lm_jax.runs.directory import in_use, seed_of
from lm_jax.runs.result import has_ended, read_result, whole_result

_PRUNED = "pruned_at_step_"
Word = Literal[
    "ended",
    "missing",
    "stopped",
    "running",
    "queued",
    "failed",
    "diverged",
    "pruned",
    "other code",
    "other recipe",
]


class State(NamedTuple):
    """What became of a cell.

    Attributes:
        word: "ended" is the only one that counts: with the recipe, the seed and the
            code of the plan, to its last step. "diverged" and "pruned", by halving, are
            said of trials alone; "queued" of what a cluster has, or will be sent.
        told: what more is to be said, or "".
    """

    word: Word
    told: str = ""


def state_of(cell: Cell, sources: str) -> State:
    """Look at a cell; nothing is changed.

    Args:
        cell: of a plan.
        sources: the code that the plan was made with.
    """
    try:
        if (cell.run / "experiment.json").exists() and (other := _other_recipe(cell)):
            return State("other recipe", other)
    except UserError as error:
        return State("failed", str(error))
    recipe = digest(cell.experiment)
    return look_at(cell.run, recipe, cell.seed, {"sources": sources})


def look_at(run: Path, recipe: str, seed: int, code: dict) -> State:
    """Look at a run without its experiment; nothing of it is executed.

    Args:
        run: its directory.
        recipe: the digest of the planned one; that of a run that hasn't ended is not
            looked at.
        seed: that is planned: a copy of another run is no further one.
        code: that the plan was made with.
    """
    if not (run / "experiment.json").exists():
        return State("missing")
    if (own := seed_of(run)) not in (None, seed):
        return State("other recipe", f"its seed is {own}, not {seed}")
    try:
        codes = {each.get("sources") for each in _codes(run)} - {code["sources"]}
        if codes:
            named = ", ".join(str(each) for each in codes)
            return State("other code", f"made by {named}, not by {code['sources']}")
        if in_use(run):
            return State("running", "by another process")
        if not has_ended(run):
            return State("stopped")
        of = read_result(run).get("recipe")
    except UserError as error:
        return State("failed", str(error))
    if of != recipe:
        return State("other recipe", f"its result is of recipe {of}")
    return State("ended")


def _codes(run: Path) -> list[dict]:
    """The code that trained a run: of one that ended, no later start counts."""
    ended = (run / "result.json").exists()
    trained = whole_result(run).get("trained_with") if ended else None
    return trained or codes_of(run)


def diverged_at(run: Path) -> int | None:
    """The step at which a run's numbers were no longer finite, if one was."""
    found = [each.name.rpartition("_")[2] for each in run.glob("diverged_at_step_*")]
    return min(map(int, found), default=None)


def pruned_at(run: Path) -> int | None:
    """The step at which halving stopped a trial, if it did."""
    found = [each.name.rpartition("_")[2] for each in run.glob(f"{_PRUNED}*")]
    return min(map(int, found), default=None)


def keep_pruned(run: Path, step: int, told: str) -> None:
    """Write down that halving stopped a trial.

    Args:
        run: its directory.
        step: that it had reached.
        told: why.
    """
    atomic_write(run / f"{_PRUNED}{step}", told + "\n")


def _other_recipe(cell: Cell) -> str:
    """Where the recipe that was begun differs from the planned; "" where it doesn't."""
    changed = differences(read(cell.run), cell.experiment)
    lines = [
        f"{each.name}: {each.a} there, {each.b} now"
        for each in changed
        # What is computed with others differs from what is not by rounding: no pair.
        if each.part == "recipe" or each.name == "execution.together"
    ]
    source = own_source(cell.experiment)
    if source is not None and source != (cell.run / COPY).read_bytes():
        lines.append("its own code (the experiment's file) has changed")
    return "; ".join(lines)
