"""NLTK's models, given the same n-grams, give the same probabilities."""

import numpy as np
import pytest

from lm_jax.counting import AddK, KneserNey, MaximumLikelihood, NGram, StupidBackoff

lm = pytest.importorskip("nltk.lm", reason="NLTK is not installed")

START = "start"
IDS = np.random.default_rng(0).zipf(1.6, 400) % 8
# NLTK counts <UNK> as a word.
VOCAB_SIZE = 9


def train(model, order):
    """Fit to the n-grams of every token; before the first comes a start."""
    words = [START, *map(str, IDS)]
    grams = [
        tuple(words[first : place + 1])
        for place in range(1, len(words))
        for first in range(max(0, place - order + 1), place + 1)
    ]
    model.fit([grams], [str(token) for token in range(8)] + [START])
    return model


def contexts(length, batch=40):
    return np.random.default_rng(1).integers(0, 8, (batch, length))


def scores(model, rows):
    return np.array(
        [
            [model.score(str(word), tuple(map(str, row))) for word in range(8)]
            for row in rows
        ]
    )


@pytest.mark.parametrize("order", [2, 3, 4])
def test_kneser_ney(order, monkeypatch):
    """Of one fixed discount, and none for the unigrams."""
    levels = iter([0.0] + [0.3] * (order - 1))
    monkeypatch.setattr(
        KneserNey, "estimate", lambda *_: np.array([0, 1, 1, 1]) * next(levels)
    )
    ours = NGram(order).fit(IDS, VOCAB_SIZE)
    theirs = train(lm.KneserNeyInterpolated(order, discount=0.3), order)
    for length in range(1, order):
        rows = contexts(length)
        p = ours.next_probabilities(rows)[:, :8]
        np.testing.assert_allclose(p, scores(theirs, rows), rtol=1e-12)


@pytest.mark.parametrize("order", [1, 3])
def test_add_k(order):
    ours = NGram(order, AddK(0.7)).fit(IDS, VOCAB_SIZE + 1)
    theirs = train(lm.Lidstone(0.7, order), order)
    rows = contexts(order - 1)
    p = ours.next_probabilities(rows)[:, :8]
    np.testing.assert_allclose(p, scores(theirs, rows), rtol=1e-12)


def test_maximum_likelihood():
    ours = NGram(3, MaximumLikelihood()).fit(IDS, VOCAB_SIZE)
    theirs = train(lm.MLE(3), 3)
    rows = np.stack([IDS[:-2], IDS[1:-1]], axis=1)[:50]  # Contexts that were seen.
    p = ours.next_probabilities(rows)[:, :8]
    np.testing.assert_allclose(p, scores(theirs, rows), rtol=1e-12)


def test_stupid_backoff_divided_by_its_sum():
    ours = NGram(3, StupidBackoff()).fit(IDS, VOCAB_SIZE)
    rows = contexts(2)
    theirs = scores(train(lm.StupidBackoff(0.4, 3), 3), rows)
    p = ours.next_probabilities(rows)[:, :8]
    np.testing.assert_allclose(
        p, theirs / theirs.sum(axis=1, keepdims=True), rtol=1e-12
    )
