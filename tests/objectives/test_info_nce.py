"""InfoNCE is a cross-entropy over a batch, what answers a query left out of it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from lm_jax.data import Coded
from lm_jax.data.passages import passage_fields
from lm_jax.mesh import make_mesh
from lm_jax.models import BagOfVectors, BiEncoder, Recurrent
from lm_jax.objectives import InfoNCE
from lm_jax.sharding import Sharding, on_mesh, to_mesh
from tests.first import applied, first_params

ROWS, PASSAGES, TIME, VOCAB = 8, 2, 5, 23
MODEL = BiEncoder(BagOfVectors(6, vocab_size=VOCAB), vocab_size=VOCAB)


def batch(**changes):
    rng = np.random.default_rng(0)
    made = {
        "query_inputs": rng.integers(0, VOCAB, (ROWS, TIME)),
        "query_segments": np.ones((ROWS, TIME), np.int32),
        "passage_inputs": rng.integers(0, VOCAB, (ROWS, PASSAGES, TIME)),
        "passage_segments": np.ones((ROWS, PASSAGES, TIME), np.int32),
        "query": np.arange(ROWS),
        "passage": np.arange(ROWS * PASSAGES).reshape(ROWS, PASSAGES),
        "mask": np.ones(ROWS, np.float32),
    }
    return {k: jnp.asarray(v) for k, v in (made | changes).items()} | {
        "row": jnp.arange(ROWS)
    }


OBJECTIVE = InfoNCE(temperature=0.3)
ONE = {name: array[:1] for name, array in batch().items()}
PARAMS = first_params(MODEL, 0, ONE, method=OBJECTIVE.predict)


@partial(jax.jit, static_argnums=1)
def sums(given, objective=OBJECTIVE, params=PARAMS, key=None):
    return objective(MODEL, params, given, key)


def cross_entropies(given, allowed, temperature=0.3):
    """In numpy: of each row, its answer among the passages that are allowed."""

    def vectors(side, rows):
        found = applied(MODEL, PARAMS, rows, method=f"{side}_vectors")
        return np.asarray(found, np.float64)

    queries = vectors("query", given["query_inputs"])
    passages = vectors("passage", given["passage_inputs"].reshape(-1, TIME))
    logits = queries @ passages.T / temperature
    found = []
    for row in range(ROWS):
        answer = row * PASSAGES
        kept = [logits[row, p] for p in {answer} | allowed(row)]
        found.append(np.log(np.exp(kept).sum()) - logits[row, answer])
    return np.array(found)


def test_negatives_are_all_passages_of_the_batch():
    wanted = cross_entropies(batch(), lambda row: set(range(ROWS * PASSAGES)))
    found = sums(batch())
    np.testing.assert_allclose(found.loss, wanted.sum(), rtol=1e-4)
    assert float(found.weight) == ROWS


def test_own_negatives_are_those_of_the_row():
    own = InfoNCE(temperature=0.3, negatives="own")
    wanted = cross_entropies(batch(), lambda row: {row * PASSAGES + 1})
    np.testing.assert_allclose(sums(batch(), own).loss, wanted.sum(), rtol=1e-4)
    assert own.across_rows == "" and OBJECTIVE.across_rows == "negatives"


@pytest.mark.parametrize("what", ["text", "query", "shared", "hard", "none"])
def test_what_answers_a_query_is_no_negative_of_it(what):
    """The same text elsewhere, another answer to it, in whichever row; a hard negative
    of its text."""
    passage, query = np.arange(ROWS * PASSAGES).reshape(ROWS, PASSAGES), np.arange(ROWS)
    everything = set(range(ROWS * PASSAGES))
    left = {
        "text": {0: {6}, 3: {0}},
        "query": {0: {6}, 3: {0}},
        "shared": {0: {6, 10, 5}, 3: {0, 10, 5}, 5: {6, 5}},
        "hard": {0: {7}},
        "none": {row: {7} for row in range(ROWS)},
    }[what]
    if what == "text":
        passage[3, 0] = 0
    elif what == "query":
        query[3] = 0
    elif what == "shared":  # what answers query 0 answers another's query too
        query[3], passage[5, 0], passage[2, 1] = 0, 6, 6
    elif what == "hard":
        passage[3, 1] = 0
    else:
        passage[3, 1] = -1
    given = batch(passage=passage, query=query)
    wanted = cross_entropies(given, lambda row: everything - left.get(row, set()))
    np.testing.assert_allclose(sums(given).loss, wanted.sum(), rtol=1e-4)


def test_padded_rows_are_neither_queries_nor_negatives():
    mask = np.array([1, 1, 1, 0, 1, 0, 1, 1], np.float32)
    real = {p for p in range(ROWS * PASSAGES) if mask[p // PASSAGES]}
    wanted = cross_entropies(batch(), lambda row: real)
    found = sums(batch(mask=mask))
    np.testing.assert_allclose(found.loss, (wanted * mask).sum(), rtol=1e-4)
    assert float(found.weight) == 6

    def loss(params):
        padded = {
            name: jnp.zeros_like(array).at[:2].set(array[:2])
            for name, array in batch().items()
        }
        return sums(padded, params=params).loss

    value, gradient = jax.jit(jax.value_and_grad(loss))(PARAMS)
    assert np.isfinite(value) and np.isfinite(gradient["embedding"]).all()
    assert np.abs(gradient["embedding"]).max() > 0.01


def test_on_eight_devices_the_negatives_are_of_the_whole_batch():
    mesh = make_mesh(Sharding(), jax.devices())
    assert mesh.size == 8  # a row on each
    alone = jax.jit(jax.value_and_grad(lambda p, b: sums(b, params=p).loss))
    spread = jax.jit(on_mesh(alone, Sharding(), mesh))
    everywhere = jax.device_put(PARAMS, NamedSharding(mesh, PartitionSpec()))
    one = jax.device_get(alone(PARAMS, batch()))
    many = spread(everywhere, to_mesh(batch(), mesh))
    assert one[0] > 8
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), many, one
    )


def test_penalties_are_means_over_the_texts_of_each_row():
    body = Recurrent(width=6, layers=1, vocab_size=VOCAB, activation_penalty=1.0)
    free = body.clone(activation_penalty=0.0)
    given = batch(mask=np.array([1, 1, 1, 0, 1, 0, 1, 1], np.float32))
    model = BiEncoder(body, vocab_size=VOCAB)
    params = first_params(model, 0, ONE, method=OBJECTIVE.predict)

    def loss(body):
        model, key = BiEncoder(body, vocab_size=VOCAB), jax.random.key(0)
        return OBJECTIVE(model, params, given, key).loss

    def squares(rows):
        hidden, _ = model.body.apply({"params": params}, rows, method="features")
        return jnp.square(hidden).mean((1, 2))

    passages = squares(given["passage_inputs"].reshape(-1, TIME))
    wanted = squares(given["query_inputs"]) + passages.reshape(ROWS, -1).mean(1)
    wanted = (wanted * given["mask"]).sum()
    np.testing.assert_allclose(loss(body) - loss(free), wanted, rtol=1e-3)


def test_a_model_that_says_nothing_is_never_right():
    flat = jax.tree.map(jnp.ones_like, PARAMS)
    found = sums(batch(), params=flat)
    told = {name: float(value) for name, value in found.metrics.items()}
    scores = OBJECTIVE.scores(told | {"weight": float(found.weight)}, Coded())
    assert scores["in_batch_accuracy"] == 0.0
    np.testing.assert_allclose(scores["loss"], np.log(ROWS * PASSAGES), rtol=1e-5)


@pytest.mark.parametrize(
    ("negatives", "rows", "passages", "said"),
    [
        ("batch", 1, 1, "A batch of 1 row has one passage"),
        ("own", 8, 1, "tells an answer from the hard negatives of its row"),
        ("batch", 1, 2, None),
        ("own", 1, 2, None),
        ("batch", 2, 1, None),
        ("batch", None, 1, None),
    ],
)
def test_answers_that_are_told_from_nothing_are_refused(
    negatives, rows, passages, said
):
    """Their loss is 0 and their accuracy 1, whatever is learnt."""
    fields = passage_fields(TIME, passages)
    found = list(InfoNCE(negatives=negatives).idle(rows, fields))
    assert found == [] if said is None else said in found[0]
