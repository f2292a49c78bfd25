"""Losses equal plain loops over the pairs, and probabilities sum to one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.bounds import all_problems
from lm_jax.data import Coded
from lm_jax.data.contexts import HuffmanTree, Noise, context_row, uniform
from lm_jax.data.huffman import huffman
from lm_jax.models.word_vectors import GlobalVectors, WordVectors
from lm_jax.objectives.word_vectors import (
    BagOfWords,
    GloVe,
    SkipGram,
)
from tests.properties import quick

VOCAB, WIDTH, WORDS, WINDOW = 9, 4, 36, 3
COUNTS = np.arange(1, VOCAB + 1)
NO_ENDS = np.zeros(VOCAB, bool)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def random_params(seed, *names):
    rng = np.random.default_rng(seed)
    return {name: jnp.array(rng.normal(size=(VOCAB, WIDTH)), "f4") for name in names}


def random_batch(targets, rows=2, seed=0):
    """Rows of which the last words are padding."""
    rng = np.random.default_rng(seed)
    made = []
    for r in range(rows):
        ids = rng.integers(0, VOCAB, WORDS - 5 * r)
        reach = rng.integers(1, WINDOW + 1, WORDS)
        row = context_row(ids, ids >= 0, NO_ENDS, reach, WINDOW)
        answers = targets.answers(COUNTS)(row["inputs"], uniform(seed, r))
        made.append(row | answers)
    return {name: jnp.array(np.stack([row[name] for row in made])) for name in made[0]}


def pairs_of(batch):
    """Row, word and word near it."""
    for r, i, k in np.argwhere(batch["near"]):
        yield r, i, i + k - WINDOW


def nats_of(batch, params, r, i, vector, at):
    """-log P of word i of row r, given a vector; noise is that of the word at `at`."""
    output = np.array(params["output"], float)
    if "nodes" in batch:
        steps = zip(batch["nodes"][r, i], batch["turns"][r, i], strict=True)
        return -sum(np.log(sigmoid(t * output[n] @ vector)) for n, t in steps if t)
    nats = -np.log(sigmoid(output[batch["inputs"][r, i]] @ vector))
    group = at // (WORDS // batch["noise"].shape[1])
    drawn = zip(batch["noise"][r, group], batch["noise_weight"][r, group], strict=True)
    return nats - sum(w * np.log(sigmoid(-output[m] @ vector)) for m, w in drawn)


TARGETS = [Noise(negatives=3, shared=5, group=12), HuffmanTree()]


@pytest.mark.parametrize("targets", TARGETS)
def test_skip_gram_equals_a_loop(targets):
    params = random_params(1, "embedding", "output")
    batch = random_batch(targets)
    sums = SkipGram()(WordVectors(WIDTH, vocab_size=VOCAB), params, batch, None)
    batch = {name: np.array(array) for name, array in batch.items()}
    inputs = batch["inputs"]
    vectors, total = np.array(params["embedding"], float), 0.0
    for r, i, j in pairs_of(batch):
        # Noise is shared by the group of the word that predicts.
        total += nats_of(batch, params, r, i, vectors[inputs[r, j]], j)
    assert sums.weight == batch["near"].sum()
    np.testing.assert_allclose(sums.loss, total, rtol=1e-5)
    np.testing.assert_allclose(sums.metrics["nats"], total, rtol=1e-5)


@pytest.mark.parametrize("targets", TARGETS)
def test_bag_of_words_equals_a_loop(targets):
    params = random_params(2, "embedding", "output")
    batch = random_batch(targets)
    sums = BagOfWords()(WordVectors(WIDTH, vocab_size=VOCAB), params, batch, None)
    batch = {name: np.array(array) for name, array in batch.items()}
    vectors, total, words = np.array(params["embedding"], float), 0.0, 0
    for r, i in np.argwhere(batch["near"].any(-1)):
        near = [j for s, w, j in pairs_of(batch) if (s, w) == (r, i)]
        mean = vectors[batch["inputs"][r, near]].mean(0)
        total += nats_of(batch, params, r, i, mean, i)
        words += 1
    assert sums.weight == words
    np.testing.assert_allclose(sums.loss, total, rtol=1e-5)


@quick
@given(st.lists(st.integers(0, 50), min_size=2, max_size=VOCAB), st.integers(0, 99))
def test_the_tree_gives_all_words_probabilities_that_sum_to_one(counts, seed):
    tree = huffman(np.array(counts))
    output = np.random.default_rng(seed).normal(size=(len(counts), WIDTH))
    vector = np.random.default_rng(seed + 1).normal(size=WIDTH)
    turned = sigmoid(tree.turns * (output[tree.nodes] @ vector))
    probabilities = np.where(tree.turns != 0, turned, 1.0).prod(1)
    np.testing.assert_allclose(probabilities.sum(), 1.0, rtol=1e-9)


def test_padding_learns_nothing():
    """A gradient reaches only the words of real pairs, and their noise."""
    targets = Noise(negatives=3, shared=5, group=12)
    batch = random_batch(targets, rows=1)
    backwards = np.arange(-WINDOW, WINDOW + 1) <= 0
    real = (np.arange(WORDS) < 18)[:, None] & backwards
    batch["near"] = batch["near"] & real
    other = batch | {"inputs": batch["inputs"].at[:, 18:].set(7)}
    params = random_params(3, "embedding", "output")
    for objective in (SkipGram(), BagOfWords()):

        def loss(params, batch, objective=objective):
            return objective(
                WordVectors(WIDTH, vocab_size=VOCAB), params, batch, None
            ).loss

        first, second = (jax.jit(jax.grad(loss))(params, b) for b in (batch, other))
        jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.parametrize("power", [0.75, 0.0])
def test_glove_equals_its_equation(power):
    params = random_params(4, "embedding", "context")
    rng = np.random.default_rng(0)
    params |= {
        n: jnp.array(rng.normal(size=VOCAB), "f4") for n in ("bias", "context_bias")
    }
    i, j = rng.integers(0, VOCAB, (2, 2, 6))
    counts = np.array([[0, 0.2, 1, 5, 10, 300], [3, 0, 0.5, 2, 40, 9]], "f4")
    batch = {"inputs": jnp.array(i), "contexts": jnp.array(j)}
    batch["counts"] = jnp.array(counts)
    glove, model = GloVe(10.0, power), GlobalVectors(WIDTH, vocab_size=VOCAB)
    sums = glove(model, params, batch, None)
    p = {name: np.array(value, float) for name, value in params.items()}
    total = 0.0
    for a, b, x in zip(i.flat, j.flat, counts.flat, strict=True):
        if x:
            error = p["embedding"][a] @ p["context"][b] - np.log(x)
            error += p["bias"][a] + p["context_bias"][b]
            total += min(1.0, (x / 10) ** power) * error**2
    assert sums.weight == 10
    np.testing.assert_allclose(sums.loss, total, rtol=1e-5)


def test_scores_are_means():
    for objective in (SkipGram(), BagOfWords(), GloVe()):
        name = "squares" if isinstance(objective, GloVe) else "nats"
        assert objective.scores({name: 6.0, "weight": 4.0}, Coded()) == {"loss": 1.5}
        assert not objective.generates


def test_a_full_weight_of_no_count_is_refused():
    assert not list(all_problems(GloVe(), "objective"))
    (problem,) = all_problems(GloVe(most=0.0), "objective")
    assert "objective.most=0.0" in problem
