"""The cosine of two texts' vectors is to be their rating."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.data import Coded
from lm_jax.models import BagOfVectors, BiEncoder
from lm_jax.objectives import CosineSimilarity
from tests.first import first_params

VOCAB, ROWS, TIME = 11, 6, 5
OBJECTIVE = CosineSimilarity()


def batch(**changes):
    rng = np.random.default_rng(0)
    ids = rng.integers(0, VOCAB, (2, ROWS, TIME))
    real = (np.arange(TIME) < rng.integers(1, TIME, (2, ROWS, 1))).astype(np.int32)
    made = {
        "first_inputs": ids[0],
        "first_segments": real[0],
        "second_inputs": ids[1],
        "second_segments": real[1],
        "value": rng.random(ROWS, np.float32),
        "mask": np.array([1, 1, 0, 1, 1, 1], np.float32),
        "row": np.arange(ROWS),
    }
    return {name: jnp.asarray(array) for name, array in (made | changes).items()}


@pytest.mark.parametrize("similarity", ["cosine", "product"])
@pytest.mark.parametrize("towers", ["shared", "apart"])
def test_the_loss_is_the_squared_error_of_cosines(similarity, towers):
    model = BiEncoder(
        BagOfVectors(4, vocab_size=VOCAB), towers=towers, similarity=similarity
    )
    given = batch()
    params = first_params(model, 0, given, method=OBJECTIVE.predict)
    params = jax.tree.map(lambda p: 9 * p, params)

    def table(tower):
        own = params if towers == "shared" else params[f"{tower}_tower"]
        return np.asarray(own["embedding"], np.float64)

    def mean(name, tower, row):
        real = np.asarray(given[f"{name}_segments"][row]) > 0
        return table(tower)[np.asarray(given[f"{name}_inputs"][row])[real]].mean(0)

    cosines = np.array(
        [
            u @ v / np.linalg.norm(u) / np.linalg.norm(v)
            for u, v in (
                (mean("first", "query", r), mean("second", "passage", r))
                for r in range(ROWS)
            )
        ]
    )
    np.testing.assert_allclose(
        OBJECTIVE.told(model, params, given)[:, 0], cosines, atol=1e-6
    )
    sums = OBJECTIVE(model, params, given, None)
    errors = (cosines - np.asarray(given["value"]))[np.asarray(given["mask"]) > 0]
    np.testing.assert_allclose(sums.loss, np.square(errors).sum(), rtol=1e-5)
    found = OBJECTIVE.scores(
        {k: float(v) for k, v in sums.metrics.items()} | {"weight": float(sums.weight)},
        Coded(),
    )
    assert found["loss"] == pytest.approx(np.square(errors).mean(), rel=1e-5)
    assert found["mean_error"] == pytest.approx(np.abs(errors).mean(), rel=1e-5)


def test_a_row_of_padding_has_a_gradient_of_zero():
    model = BiEncoder(BagOfVectors(4, vocab_size=VOCAB), similarity="product")
    given = batch(first_segments=np.zeros((ROWS, TIME), np.int32))
    params = first_params(model, 0, given, method=OBJECTIVE.predict)
    gradient = jax.grad(lambda p: OBJECTIVE(model, p, given, None).loss)(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


class Keys(nn.Module):
    """In the place of vectors: the keys that dropout is drawn by."""

    def query_vectors(self, tokens, segments, dropout_keys):
        return jax.random.key_data(dropout_keys).astype(jnp.float32)

    passage_vectors = query_vectors


def test_dropout_is_another_of_each_text():
    keys = jax.random.split(jax.random.key(0), ROWS)
    found, _ = OBJECTIVE.predict(Keys(), batch(), None, keys)
    assert (np.abs(found - 1) > 1e-5).all()
