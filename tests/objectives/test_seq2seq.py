"""A target given its source: smoothing, padding, and that the source is read."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lm_jax.bounds import all_problems
from lm_jax.data import Coded
from lm_jax.models import EncoderDecoder
from lm_jax.objectives.seq2seq import Seq2Seq
from tests.first import first_params
from tests.properties import slow_but

VOCAB = 11
MODEL = EncoderDecoder(layers=1, heads=2, width=16, vocab_size=VOCAB)


def batch_of(rows=4, source=7, target=5):
    """Give a batch of random ids, the last target of each row not counted."""
    random = np.random.default_rng(0)
    targets = random.integers(0, VOCAB, (rows, target))
    arrays = {
        "source": random.integers(0, VOCAB, (rows, source)),
        "decoder_inputs": np.pad(targets[:, :-1], ((0, 0), (1, 0))),
        "targets": targets,
        "mask": np.tile(np.arange(target) < target - 1, (rows, 1)).astype(np.float32),
        "row": np.arange(rows),
    }
    return {name: jnp.asarray(array) for name, array in arrays.items()}


BATCH = batch_of()
PARAMS = first_params(MODEL, 0, BATCH, method=Seq2Seq().predict)
# Larger, so that no two logits are alike.
PARAMS = jax.tree.map(lambda p: 3.0 * p, PARAMS)


@partial(jax.jit, static_argnums=(0, 1))
def sums_of(objective, model, batch, key):
    return objective(model, PARAMS, batch, key)


@pytest.mark.parametrize("smoothing", slow_but([0.0, 0.1], 0.1))
def test_the_loss_is_the_cross_entropy_with_smoothed_labels(smoothing):
    logits, _ = jax.jit(MODEL.apply)(
        {"params": PARAMS}, BATCH["decoder_inputs"], source=BATCH["source"]
    )
    labels = jax.nn.one_hot(BATCH["targets"], VOCAB)
    mask = BATCH["mask"]

    def summed(labels):
        return float((optax.softmax_cross_entropy(logits, labels) * mask).sum())

    objective = Seq2Seq(label_smoothing=smoothing)
    training = sums_of(objective, MODEL, BATCH, jax.random.key(1))
    smooth = summed(optax.smooth_labels(labels, smoothing))
    assert float(training.loss) == pytest.approx(smooth, rel=1e-4)
    assert float(training.metrics["nats"]) == pytest.approx(summed(labels), rel=1e-4)
    evaluated = sums_of(objective, MODEL, BATCH, None)
    assert float(evaluated.loss) == pytest.approx(summed(labels), rel=1e-4)
    right = (logits.argmax(-1) == BATCH["targets"]) * mask
    assert float(evaluated.metrics["correct"]) == float(right.sum())
    assert float(evaluated.weight) == float(mask.sum())


def loss(batch, objective=Seq2Seq()):
    return float(sums_of(objective, MODEL, batch, None).loss)


def test_the_source_is_read_and_its_padding_is_not():
    other = BATCH["source"].at[:, 2].set(0)
    assert abs(loss(BATCH | {"source": other}) - loss(BATCH)) > 1e-3
    rows, source = BATCH["source"].shape
    padded = jnp.pad(BATCH["source"], ((0, 0), (0, 3)), constant_values=5)
    seen = jnp.arange(source + 3)[None] < jnp.full((rows, 1), source)
    long = BATCH | {"source": padded, "source_mask": seen}
    assert loss(long) == pytest.approx(loss(BATCH), rel=1e-5)
    assert abs(loss(BATCH | {"source": padded}) - loss(BATCH)) > 1e-3


def test_rows_of_padding_count_nothing():
    whole = BATCH | {"source_mask": jnp.ones(BATCH["source"].shape, bool)}
    long = {
        name: jnp.pad(array, [(0, 2)] + [(0, 0)] * (array.ndim - 1))
        for name, array in whole.items()
    }
    assert loss(long) == pytest.approx(loss(BATCH), rel=1e-5)


@pytest.mark.slow
def test_parts_of_a_batch_add_up_with_dropout():
    model, key = MODEL.clone(dropout=0.3), jax.random.key(1)
    objective = Seq2Seq(label_smoothing=0.1)
    parts = [
        {k: v[rows] for k, v in BATCH.items()} for rows in np.array([[0, 2], [1, 3]])
    ]
    whole, *halves = (
        float(sums_of(objective, model, part, key).loss) for part in (BATCH, *parts)
    )
    assert sum(halves) == pytest.approx(whole, rel=1e-5)
    assert abs(whole - float(sums_of(objective, MODEL, BATCH, key).loss)) > 1e-3


def test_scores_are_means_over_the_targets():
    scores = Seq2Seq().scores({"nats": 8.0, "correct": 1.0, "weight": 4.0}, Coded())
    assert scores == {
        "loss": 2.0,
        "perplexity": pytest.approx(np.exp(2.0)),
        "accuracy": 0.25,
        "tokens": 4,
    }


def test_what_makes_no_sense_is_refused():
    assert not list(all_problems(Seq2Seq(), "objective"))
    (problem,) = all_problems(Seq2Seq(label_smoothing=1.0), "objective")
    assert "label_smoothing" in problem
