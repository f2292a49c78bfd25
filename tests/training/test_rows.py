"""A step over the rows that a batch names is the step over the whole tables."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.models import GlobalVectors, WordVectors
from lm_jax.models.stack import initialise
from lm_jax.objectives import BagOfWords, GloVe, SkipGram
from lm_jax.optimizers import SGD, RMSProp, transformation
from lm_jax.training.rows import on_rows, rows_of
from lm_jax.training.state import first_state
from lm_jax.training.step import make_train_step
from tests.properties import quick

WORDS = 32


def batch(step, size, near=2):
    """Words and noise, some twice and the last of the vocabulary among them.

    Step 3 names more rows than there is room for where few are.
    """
    draw = np.random.default_rng(step)
    words = range(size - 50, size) if step == 3 else [*range(9), 70, size - 1]
    ids = draw.choice(words, (3, 1, WORDS)).astype(np.int32)
    turns = draw.choice([-1.0, 0.0, 1.0], (1, WORDS, 2)).astype(np.float32)
    seen = np.arange(WORDS)[:, None] + np.arange(-near, near + 1)
    inside = (seen >= 0) & (seen < WORDS)
    return {
        "inputs": ids[0],
        "near": (draw.random((1, *inside.shape)) < 0.5) & inside,
        "noise": ids[1][:, :10].reshape(1, 2, 5),
        "noise_weight": np.full((1, 2, 5), 0.4, np.float32),
        "contexts": ids[2],
        "counts": draw.random((1, WORDS)).astype(np.float32),
        "nodes": np.stack([ids[1], ids[2]], -1),
        "turns": turns,
    }


NOISE = ("inputs", "near", "noise", "noise_weight")
TREE = ("inputs", "near", "nodes", "turns")
PAIRS = ("inputs", "contexts", "counts")


@pytest.mark.parametrize(
    ("objective", "reads", "optimizer", "size", "made"),
    [
        (SkipGram(), NOISE, RMSProp(0.9, clip=None), 300, [16, 42]),
        (BagOfWords(), TREE, SGD(momentum=0.0, clip=0.1), 300, [38, 96]),
        (GloVe(), PAIRS, RMSProp(clip=0.1), 100, [25, 100]),
    ],
)
def test_rows_that_no_batch_names_make_no_difference(
    objective, reads, optimizer, size, made
):
    kind = GlobalVectors if isinstance(objective, GloVe) else WordVectors
    model = kind(width=4, vocab_size=size)
    params = initialise(model, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
    rule = transformation(optimizer, lambda step: 0.1, params)
    seen = []

    def make(model):
        seen.append(model.vocab_size)
        return make_train_step(model, objective, rule, lambda s: 0.1, seed=0, skip=1)

    rows = jax.jit(on_rows(make, model, objective.names))
    whole = jax.jit(make(model))
    states = [first_state(params, rule, skips=True)] * 2
    for step in range(4):
        given = {name: jnp.asarray(batch(step, size)[name]) for name in reads}
        if step == 2:  # is skipped
            weight = next(n for n in reads if given[n].dtype == np.float32)
            given[weight] = given[weight] * np.nan
        pairs = [
            run(state, given) for run, state in zip((whole, rows), states, strict=True)
        ]
        states = [state for state, _ in pairs]
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
            *pairs,
        )
    assert int(states[1].step) == 4 and int(states[1].skipped) == 0
    assert seen[0] == size and sorted(seen[1:]) == made
    pairs = [(states[1].params[name], first) for name, first in params.items()]
    moved = np.flatnonzero(
        sum((a != b).reshape(size, -1).any(1) for a, b in pairs)  # in any table
    )
    assert set(moved) <= {*range(9), 70, *range(size - 50, size)}
    assert size - 1 in moved and len(moved) > made[0]


@quick
@given(st.lists(st.integers(0, 19), min_size=1, max_size=9))
def test_rows_are_those_that_are_named(ids):
    rows = rows_of(jnp.array(ids), 20)
    named = np.unique(ids)
    assert rows.number == len(named)
    assert rows.ids.tolist() == named.tolist() + [20] * (len(ids) - len(named))
    assert rows.ids[rows.places[jnp.array(ids)]].tolist() == ids
