"""Which parameters there are beside a model's own, and which of all are trained."""

import operator
from typing import Any

import jax

from lm_jax.durations import Units, in_steps, steps
from lm_jax.errors import UserError
from lm_jax.experiment import Experiment, Learnt
from lm_jax.models.stack import unstack_blocks
from lm_jax.runs.learnt import by_path
from lm_jax.selectors import like_layers_once, select
from lm_jax.training.initial import Start


def adapted(experiment: Experiment, params: Any, key: Any) -> Any:
    """A model's parameters, with those of the adapters where it has some.

    Raises:
        UserError: they don't fit, or nothing is there to adapt.
    """
    adapter = experiment.adapter
    if adapter is None:
        return params
    if not isinstance(experiment.initial, Learnt):
        vectors = ", but for its vectors" if experiment.initial else ""
        raise UserError(
            f"adapter={type(adapter).__name__}(...) adapts what has been learnt, and "
            f"this model begins anew{vectors}. Say where from: --from RUN."
        )
    return adapter.added(params, key)


def frozen_of(experiment: Experiment, params: Any) -> Any:
    """True for each parameter that is not trained.

    Raises:
        UserError: an expression matches nothing, or nothing is left to train.
    """
    chosen = select(experiment.frozen, params, "frozen")
    frozen = jax.tree.map(lambda value: value is True, chosen)
    if experiment.adapter is not None:
        fixed = experiment.adapter.frozen(params)
        frozen = jax.tree.map(operator.or_, frozen, fixed)
    if all(jax.tree.leaves(frozen)):
        raise UserError("frozen leaves no parameter to train.")
    for expression, rate in experiment.optimizer.rates:
        if rate == 0.0:
            raise UserError(
                f"optimizer.rates: '{expression}' has a rate of 0. Say what is not "
                f"trained by frozen=(('{expression}', True), ('.*', False))."
            )
    return frozen


def left_of(
    experiment: Experiment, start: Start | None, params: Any
) -> tuple[str, ...]:
    """Paths of the parameters that a run of adapters leaves where they come from.

    They are those that are as they were there and stay so.

    Args:
        experiment: of the run.
        start: what its parameters begin with, if that was read.
        params: the shapes of all; layers may be scanned.
    """
    if experiment.adapter is None or start is None or start.there is None:
        return ()
    shapes = jax.eval_shape(unstack_blocks, params)
    stays = by_path(frozen_of(experiment, shapes))
    return tuple(
        path
        for path, shape in by_path(shapes).items()
        if stays[path]
        and path in start.arrays
        and start.arrays[path].shape == shape.shape
    )


def say_untrained(
    experiment: Experiment, start: Start | None, params: Any
) -> Start | None:
    """Give the start, its table naming what begins anew and stays as it was drawn.

    Beside adapters that is all that is new, unless it is named: as a head, by mistake.

    Args:
        experiment, start, params: as of `left_of`.
    """
    if experiment.adapter is None or start is None:
        return start
    shapes = jax.eval_shape(unstack_blocks, params)
    stays = by_path(frozen_of(experiment, shapes))
    idle = [path for path in stays if stays[path] and path not in start.arrays]
    why = "new, and not trained: name it in adapter.whole, if it is to be"
    rows = [(path, why) for path in like_layers_once(idle)]
    return start._replace(table=[*start.table, *rows])


def begins_of(experiment: Experiment, params: Any, units: Units, total: int) -> Any:
    """The step at which the training of each parameter begins, 0 for most.

    Args:
        experiment: of it.
        params: all of them, or their shapes.
        units: what a step amounts to.
        total: steps of the budget.

    Returns:
        None where all begin with the first.

    Raises:
        UserError: a time is no duration, or as long as the budget; the optimizer
            looks at all parameters at once.
    """
    waits = [value for _, value in experiment.frozen if isinstance(value, str)]
    if not waits:
        return None
    found = {value: steps(value, units, "frozen") for value in waits}
    if long := [value for value, step in found.items() if step >= total]:
        raise UserError(
            f"frozen: '{long[0]}' is {in_steps(found[long[0]])}, and the budget is "
            f"{total:,}: nothing of that would be trained. Give less, or True."
        )
    if experiment.optimizer.products:
        raise UserError(
            f"frozen: '{waits[0]}', and {type(experiment.optimizer).__name__} can't "
            "begin with a part of its matrices later. Take AdamW, or True and False."
        )
    chosen = select(experiment.frozen, params, "frozen")
    return jax.tree.map(lambda value: found.get(value, 0), chosen)
