"""Which parameters there are beside a model's own, and which of all are trained."""

import operator
from typing import Any

import jax

from lm_jax.errors import UserError
from lm_jax.experiment import Experiment
from lm_jax.selectors import select


def adapted(experiment: Experiment, params: Any, key: Any) -> Any:
    """A model's parameters, with those of the adapters where it has some.

    Raises:
        UserError: they don't fit, or nothing is there to adapt.
    """
    adapter = experiment.adapter
    if adapter is None:
        return params
    if experiment.initial is None:
        raise UserError(
            f"adapter={type(adapter).__name__}(...) adapts what has been learnt, and "
            "this model begins anew. Say where from: --from RUN."
        )
    return adapter.added(params, key)


def frozen_of(experiment: Experiment, params: Any) -> Any:
    """True for each parameter that is not trained.

    Raises:
        UserError: an expression matches nothing, or nothing is left to train.
    """
    frozen = select(experiment.frozen, params, "frozen")
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
