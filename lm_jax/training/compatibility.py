"""Fit data, model and objective together: fill in, then check, then compile."""

from collections.abc import Iterator
from typing import Any

import flax.linen as nn

import lm_jax.models
from lm_jax.bounds import all_problems
from lm_jax.data import Prepared, giving
from lm_jax.data.order import batch_size
from lm_jax.errors import UserError
from lm_jax.experiment import Compute, Experiment
from lm_jax.models.initial import stale_rates
from lm_jax.models.model import Model, lacking, unmet
from lm_jax.models.stack import laid_out
from lm_jax.objectives import ObjectiveBase


def check_model(model: Any) -> None:
    """Refuse what doesn't offer what every model does.

    Raises:
        UserError: naming what is missing, and what to write.
    """
    if missing := unmet(model):
        kind = type(model).__name__
        raise UserError(
            f"{kind} is no model that can be trained: it lacks {', '.join(missing)}. "
            f"Write `class {kind}(lm_jax.models.Model)` with its fields, `features` "
            "and `logits`: the rest comes from there."
        )


def check_objective(objective: Any) -> None:
    """Refuse what doesn't offer what every objective does.

    Raises:
        UserError: naming what is missing, and what to write.
    """
    kind = type(objective).__name__
    if not isinstance(objective, ObjectiveBase):
        raise UserError(
            f"{kind} is no objective: write it as a frozen dataclass "
            f"`class {kind}(lm_jax.objectives.ObjectiveBase)`."
        )
    if missing := lacking(objective, {"predict": (), "__call__": (), "scores": ()}):
        raise UserError(
            f"The objective {kind} lacks {', '.join(missing)}: see "
            "lm_jax.objectives.ObjectiveBase, and NextToken for one that has all."
        )


def fill_in(model: Any, vocab_size: int, context: int) -> nn.Module:
    """Give the model what only the data knows.

    Raises:
        UserError: when the model was given another vocabulary size.
    """
    if model.vocab_size not in (0, vocab_size):
        raise UserError(
            f"model.vocab_size is {model.vocab_size}, and the tokenizer has "
            f"{vocab_size} tokens. Leave it out: it is taken from the data."
        )
    if model.vocab_size < 2 and vocab_size < 2:
        raise UserError(
            f"The vocabulary has {vocab_size} token: there is nothing to predict. "
            "Use another tokenizer or a longer text."
        )
    try:
        return model.filled(vocab_size, context)
    except ValueError as error:
        raise UserError(str(error)) from error


def lay_out(model: Any, compute: Compute) -> nn.Module:
    """Lay a model's operations out as the execution asks.

    Raises:
        UserError: the model can't be laid out so.
    """
    try:
        return laid_out(model, compute.scan, compute.remat, compute.attention)
    except ValueError as error:
        raise UserError(str(error)) from error


def fill_in_classes(model: Any, classes: int) -> Any:
    """Give a model that tells classes apart the number that the data has.

    Raises:
        UserError: when the model was given another.
    """
    if not classes or lacking(model, {"with_classes": ()}):
        return model
    if model.classes not in (0, classes):
        raise UserError(
            f"model.classes is {model.classes}, and the data has {classes} labels. "
            "Leave it out: it is taken from the data."
        )
    return model.with_classes(classes)


def check_fit(experiment: Experiment, data: Prepared, model: Any) -> None:
    """Refuse what doesn't fit itself, or the others.

    Raises:
        UserError: saying what is missing, and what gives it.
    """
    for problem in _problems(experiment, data, model):
        raise UserError(problem)


def _problems(experiment: Experiment, data: Prepared, model: Any) -> Iterator[str]:
    objective = experiment.objective
    yield from all_problems(model, "model")
    yield from all_problems(objective, "objective")
    unread = list(_unread(type(experiment.data).__name__, data, objective))
    yield from unread
    if not unread:
        rows = batch_size(experiment.batch).rows
        yield from objective.idle(rows, data.training_fields)
    yield from _unsuited(model, objective)
    if stale := stale_rates(model, experiment.optimizer.rates):
        yield stale
    if data.lanes:
        yield from _uncarried(type(experiment.data).__name__, model)
        if experiment.execution.compute.scan:
            yield (
                "execution.compute.scan: a scanned model can't carry its state from "
                "batch to batch. Leave scan out."
            )


def _unread(kind: str, data: Prepared, objective: ObjectiveBase) -> Iterator[str]:
    """Say which fields the objective reads and the data lacks."""
    given = [field.name for field in data.training_fields]
    scored = [field.name for field in data.evaluation_fields]
    for rows, names in (("", given), (" of an evaluation", scored)):
        missing = [name for name in objective.reads if name not in names]
        if missing:
            yield (
                f"{type(objective).__name__} reads {_listed(missing)}, and the "
                f"examples{rows} of {kind} have {_listed(names)}. {_givers(missing)}"
            )


def _listed(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _givers(missing: list[str]) -> str:
    """Say what gives the missing fields."""
    kinds = [kind for kind in giving(missing[0]) if set(missing) <= {*_gives(kind)}]
    if kinds:
        return f"Data that gives it: {', '.join(kinds)}. Or use another objective."
    return (
        "No data value of lm_jax.data gives it: let the data of your own give it, or "
        "use another objective."
    )


def _gives(kind: str) -> tuple[str, ...]:
    return getattr(lm_jax.data, kind).gives


def _unsuited(model: Any, objective: ObjectiveBase) -> Iterator[str]:
    """Say what the objective asks of a model and this one doesn't offer."""
    name, kind = type(objective).__name__, type(model).__name__
    fitting = ", ".join(_fitting(objective))
    others = f" Models that fit: {fitting}." if fitting else ""
    if missing := lacking(model, objective.calls):
        yield f"{name} calls {_listed(missing)}, which {kind} lacks.{others}"
    elif unread := _alone(model, objective):
        yield (
            f"{kind} reads {_listed(unread)} too, which {name} doesn't hand on. Use "
            f"another objective.{others}"
        )
    elif objective.causal is not None and model.causal is not objective.causal:
        wanted = "from what came before" if objective.causal else "from both sides"
        sees = {True: "sees what came before", False: "sees the whole text"}
        does = sees.get(model.causal, "doesn't read a text token by token")
        yield f"{name} predicts {wanted}, and {kind} {does}.{others}"
    else:
        yield from objective.unsuited(model)


def _alone(model: Any, objective: ObjectiveBase) -> list[str]:
    """The fields that a model can't do without and the objective doesn't hand on."""
    handed = {*objective.reads, *objective.may_read}
    return [field for field in model.reads if field not in handed]


def _fitting(objective: ObjectiveBase) -> list[str]:
    """The models of this package that an objective can train."""
    return [
        kind.__name__
        for kind in _kinds()
        if not lacking(kind, objective.calls)
        and not _alone(kind, objective)
        and objective.causal in (None, kind.causal)
    ]


def _kinds() -> list[Any]:
    exported = vars(lm_jax.models).values()
    return [
        kind
        for kind in exported
        if isinstance(kind, type) and issubclass(kind, Model) and kind is not Model
    ]


def _uncarried(data: str, model: Any) -> Iterator[str]:
    kind = type(model).__name__
    if not model.recurrent:
        carrying = ", ".join(k.__name__ for k in _kinds() if k.recurrent is True)
        yield (
            f"The batches of {data} continue each other, and {kind} has no state of "
            "constant size to carry from batch to batch. Use TokenStream, or a "
            f"recurrent model: {carrying}."
        )
