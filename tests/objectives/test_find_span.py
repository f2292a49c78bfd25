"""A span is told among the passage's tokens, and is the best that there is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.objectives.find_span import best_span
from tests.objectives.test_fields import CASES, arrays, parameters


@pytest.mark.parametrize("longest", [1, 2, 9])
def test_the_best_span_is_the_best_of_all(longest):
    random = np.random.default_rng(0)
    found = random.normal(size=(20, 7, 2)).astype(np.float32)
    passage = np.zeros((20, 7), bool)
    passage[:, 2:6] = True
    told = best_span(jnp.asarray(found), jnp.asarray(passage), longest)
    for row, (none, best, start, end) in zip(found, np.asarray(told), strict=True):
        spans = {
            (i, j): row[i, 0] + row[j, 1]
            for i in range(2, 6)
            for j in range(i, min(i + longest, 6))
        }
        assert max(spans, key=spans.get) == (start, end)
        assert best == pytest.approx(max(spans.values()), rel=1e-6)
        assert none == pytest.approx(row[0].sum(), rel=1e-5, abs=1e-6)
    empty = best_span(jnp.asarray(found), jnp.zeros((20, 7), bool), longest)
    assert np.isneginf(empty[:, 1]).all()


@pytest.mark.slow
def test_ends_are_chosen_among_the_passage_and_no_answer():
    """Their probabilities are 1 together; the loss is that of both, of what counts."""
    objective, model, batch = CASES["find a span"]
    params, own = parameters("find a span"), arrays(batch)
    found, _ = model.apply({"params": params}, own, method=objective.predict)
    probability = np.exp(np.asarray(found))
    np.testing.assert_allclose(probability.sum(1), 1, rtol=1e-5)
    able = batch["segments"] == 2
    able[:, 0] = True
    assert (probability[~able] == 0).all() and (probability[able] > 0).all()
    sums = objective(model, params, own, None)
    wanted = -(found[0, 2, 0] + found[0, 3, 1])
    assert float(sums.loss) == pytest.approx(float(wanted), rel=1e-5)
    assert float(sums.weight) == 1
    gradient = jax.grad(lambda p: objective(model, p, own, None).loss)(params)
    assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(gradient))
