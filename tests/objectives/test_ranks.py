"""In no loss do arrays of other ranks meet, whose sum would be another in silence."""

import functools

import flax.linen as nn
import jax
import pytest

from lm_jax.models.stack import initialise
from lm_jax.objectives import (
    BagOfWords,
    Classify,
    Distil,
    Guide,
    NextToken,
    SkipGram,
)
from tests.objectives.test_fields import CASES, arrays


def traced(objective, model, batch):
    """Trace a loss in which arrays of other ranks don't meet; in models they may."""

    def called(call, args, kwargs, context):
        with jax.numpy_rank_promotion("allow"):
            return call(*args, **kwargs)

    def summed(params, batch, key):
        more = (None, Guide(model, params)) if objective.guide else ()
        return objective(model, params, batch, key, *more)

    first = functools.partial(initialise, model, method=objective.predict)
    params = jax.eval_shape(first, jax.random.key(0), batch)
    with jax.numpy_rank_promotion("raise"), nn.intercept_methods(called):
        jax.eval_shape(summed, params, batch, jax.random.key(0))


# Windows of words are made of rows and columns, and their sums are those of a loop.
RANKS = {
    name: (case, case.objective)
    for name, case in CASES.items()
    if not isinstance(case.objective, SkipGram | BagOfWords)
} | {
    "smoothed": (CASES["next token"], NextToken(label_smoothing=0.1)),
    "smoothed classes": (
        CASES["classify a pooled text"],
        Classify(label_smoothing=0.1),
    ),
    "two passes": (CASES["classify a pooled text"], Classify(r_drop=1.0)),
    "mixed": (CASES["classify a pooled text"], Classify(mixup=0.5)),
    "taught classes": (CASES["classify a pooled text"], Distil(Classify())),
}


@pytest.mark.parametrize("name", RANKS)
def test_no_loss_lets_arrays_of_other_ranks_meet(name):
    """(batch,) and (batch, 1) would make (batch, batch), and a sum, in silence."""
    case, objective = RANKS[name]
    traced(objective, case.model, arrays(case.batch))
