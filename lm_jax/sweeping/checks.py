"""What is wrong with a sweep, said before its first run."""

import math
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from lm_jax.ablation.plan import Cell, Plan, Variant
from lm_jax.ablation.states import State
from lm_jax.averages import checkpoints_of
from lm_jax.errors import UserError, nearest
from lm_jax.evaluation import Likelihood
from lm_jax.runs.figures import short, size
from lm_jax.statistics.paired import smallest_p
from lm_jax.statistics.verdicts import PERMUTATION_PAIRS, T_PAIRS
from lm_jax.training.alike import TOKENS, measured, unlike
from lm_jax.training.resolved import Setup
from lm_jax.training.scoring import seen_before
from lm_jax.training.setup import set_up

_SPARE = 2_000_000  # bytes of a run beside its checkpoints


class Resolved(NamedTuple):
    """What a variant's runs amount to.

    Attributes:
        steps: of a run.
        tokens: that a run is trained on.
        flops: of a run.
        parameters: of the model.
        bytes: that a run takes on the disk, about.
        policy: what is seen before each token that is scored.
        scored: what else two variants must share to be compared, by name.
        scores: that the watched evaluation gives.
    """

    steps: int
    tokens: float
    flops: float
    parameters: int
    bytes: int
    policy: str
    scored: dict[str, str]
    scores: tuple[str, ...]


def resolve(
    plan: Plan,
    progress: Callable[[str, int, int], None] | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> dict[str, Resolved]:
    """Resolve each variant, and see that they can be compared.

    Args:
        plan: of the sweep.
        progress: told (description, done, total).
        devices: that a run has; all, if None.

    Raises:
        UserError: a variant can't be trained; two are scored on other texts, or
            otherwise; there is no such measure.
    """
    found = {}
    for variant in plan.variants:
        _check_whole(variant)
        try:
            experiment = plan.computed(variant.experiment)
            setup = set_up(experiment, devices, progress=progress)
            if plan.together is not None:
                _check_one_shape(setup)
        except UserError as error:
            raise UserError(f"{variant.name}: {error}") from error
        if plan.study.search == "halving":
            _check_halving(variant, setup)
        found[variant.name] = _resolved(setup)
    for variant in plan.compared():
        _check_alike(variant, found, plan.study.measure == "bits_per_byte")
    for name, resolved in found.items():
        measure = plan.study.measure
        if measure is not None and measure not in resolved.scores:
            raise UserError(
                f"study.measure '{measure}': {name} is not scored by it."
                f"{nearest(measure, resolved.scores)}"
            )
    return found


def _resolved(setup: Setup) -> Resolved:
    experiment, units, total = setup.experiment, setup.units, setup.total
    evaluation = experiment.evaluations[experiment.watch]
    names: tuple[str, ...] = (evaluation.watched,)
    if isinstance(evaluation, Likelihood):
        names = tuple(setup.planned.scores())
    kept = experiment.execution.keep + checkpoints_of(experiment.average) + 2
    return Resolved(
        steps=total,
        tokens=total * units.tokens,
        flops=total * units.flops,
        parameters=setup.parameters,
        bytes=kept * _bytes(setup.saved_shapes()) + _SPARE,
        policy=seen_before(setup.data),
        scored=measured(setup),
        scores=names,
    )


def check_together(workers: int | None, together: int | None) -> None:
    """Refuse to share a machine in two ways at once, or among fewer than two.

    Raises:
        UserError: saying which.
    """
    if together is None:
        return
    if workers is not None:
        raise UserError("Give --workers or --together, not both.")
    if together < 2:
        raise UserError(
            f"--together {together}: give 2 seeds or more, or leave it out."
        )


def _check_one_shape(setup: Setup) -> None:
    """Refuse batches of several shapes: those of two seeds would differ in theirs.

    Raises:
        UserError: saying what to give instead.
    """
    if (shapes := len(setup.order.shapes)) > 1:
        raise UserError(
            f"--together: {type(setup.experiment.data).__name__} gives batches of "
            f"{shapes} shapes here, and seeds that are trained together need one. "
            "Leave it out, or give one length."
        )


def _check_whole(variant: Variant) -> None:
    """Refuse runs that would end after different numbers of steps.

    Raises:
        UserError: naming the variant.
    """
    if (patience := variant.experiment.patience) is not None:
        raise UserError(
            f"{variant.name}: patience={patience} ends runs after different numbers "
            "of steps, and only runs of their whole budget are compared. Leave it out."
        )


def _check_halving(variant: Variant, setup: Setup) -> None:
    """Refuse to stop early what isn't looked at before its end.

    Raises:
        UserError: with what to change.
    """
    watch = setup.experiment.watch
    if setup.every[watch] >= setup.total:
        raise UserError(
            f"study.search='halving': {variant.name} is evaluated at its end alone, "
            f"and trials are stopped at evaluations. Make '{watch}' more often (every)."
        )


def _bytes(shapes: Any) -> int:
    leaves = jax.tree.leaves(shapes)
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)


def _check_alike(variant: Variant, found: dict[str, Resolved], bytewise: bool) -> None:
    """Refuse to compare what is scored otherwise.

    Args:
        variant: and what it is compared with.
        found: what each resolves to.
        bytewise: whether the measure doesn't depend on the tokens.

    Raises:
        UserError: with the first thing that differs.
    """
    here, there = found[variant.name], found[str(variant.against)]
    if different := unlike(here.scored, there.scored, bytewise):
        what, value, other = different
        if what == TOKENS:
            raise UserError(
                f"'{variant.name}' can't be compared with '{variant.against}' by what "
                "it is scored: their tokens are others, by their tokenizers or by how "
                'the text was split. Study(measure="bits_per_byte") depends on no '
                "tokens; or leave it out (--variants)."
            )
        raise UserError(
            f"'{variant.name}' can't be compared with '{variant.against}': {what}: "
            f"{other} there, {value} here. The difference of their scores would be "
            "one of the measure: leave it out (--variants)."
        )


def check_folder(states: dict[Cell, State], new: bool) -> None:
    """Refuse a folder whose runs are others than the planned.

    Args:
        states: of all cells.
        new: whether nothing of this plan has run: then code counts too.

    Raises:
        UserError: naming them.
    """
    words = ("other recipe", "other code") if new else ("other recipe",)
    others = [(cell, state) for cell, state in states.items() if state.word in words]
    if others:
        lines = [f"  {cell.run}: {state.told}" for cell, state in others[:5]]
        more = [f"  and {len(others) - 5} more"] if len(others) > 5 else []
        raise UserError(
            "\n".join(
                [
                    "Runs that are no part of this sweep stand in its places:",
                    *lines,
                    *more,
                    "Give the sweep a folder of its own (--out), or move them away.",
                ]
            )
        )


def check_disk(
    plan: Plan, cells: list[Cell], resolved: dict[str, Resolved], there: Path
) -> None:
    """Refuse to begin what the disk can't hold.

    Args:
        plan: of the sweep.
        cells: that are to run.
        resolved: what each variant takes.
        there: a folder on that disk that exists.

    Raises:
        UserError: with what is needed and what is free.
    """
    needed = sum(resolved[cell.variant].bytes for cell in cells)
    free = shutil.disk_usage(there).free
    if needed > free:
        raise UserError(
            f"{len(cells)} runs take about {size(needed)}, and {size(free)} are free "
            f"where {plan.folder} is. Make room, keep fewer checkpoints (in the file: "
            "execution=Execution(keep=1)), or give another disk (--out)."
        )


def existing(folder: Path) -> Path:
    """The nearest folder above that exists, or the folder."""
    absolute = Path(os.path.abspath(folder))
    return next(each for each in (absolute, *absolute.parents) if each.is_dir())


def notes(plan: Plan, resolved: dict[str, Resolved]) -> list[str]:
    """What a reader of the verdicts should know, from the plan alone."""
    study, found = plan.study, []
    many = len(plan.compared())
    if study.seeds < T_PAIRS:
        found.append(
            f"{study.seeds} seeds show direction and spread: a verdict needs {T_PAIRS}."
        )
    elif study.seeds >= PERMUTATION_PAIRS:
        reach = smallest_p(study.seeds) * many
        if reach >= study.level:
            found.append(
                f"{study.seeds} seeds can't tell {many} variants apart: the smallest p "
                f"is {reach:.3g} after Holm, and the level is {study.level:g}."
            )
    for variant in plan.compared():
        here, there = (resolved[n] for n in (variant.name, str(variant.against)))
        if not math.isclose(here.tokens, there.tokens, rel_tol=0.01):
            found.append(
                f"{variant.name} is trained on {short(here.tokens)} tokens, "
                f"{variant.against} on {short(there.tokens)}."
            )
    return found
