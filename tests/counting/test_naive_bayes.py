"""Naive Bayes and the weighed ratios are the formulas of Wang and Manning (2012)."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from lm_jax.counting import NaiveBayes, load_classes
from lm_jax.counting.bags import bags, learn_grams
from lm_jax.counting.naive_bayes import log_count_ratio, logistic
from lm_jax.errors import UserError
from tests.properties import quick

VOCAB = 5
TEXT = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=9)


def grams_of(text, order):
    return Counter(
        tuple(text[start : start + length])
        for length in range(1, order + 1)
        for start in range(len(text) - length + 1)
    )


@quick
@given(st.lists(TEXT, min_size=1, max_size=6), TEXT, st.integers(1, 3), st.booleans())
def test_bags_count_the_n_grams_of_each_text_alone(texts, new, order, binary):
    arrays = [np.array(text) for text in texts]
    grams = learn_grams(arrays, order, VOCAB)
    known = set().union(*(grams_of(text, order) for text in texts))
    assert grams.total == len(known)
    found = bags([*arrays, np.array(new)], grams, binary).toarray()
    assert found.shape == (len(texts) + 1, len(known))
    for row, text in zip(found, [*texts, new], strict=True):
        wanted = [n for gram, n in grams_of(text, order).items() if gram in known]
        wanted = [1] * len(wanted) if binary else wanted
        assert sorted(row[row > 0]) == sorted(wanted)


def texts_of(count=60):
    """Texts whose class (of three) shows in their tokens, mostly."""
    random = np.random.default_rng(0)
    labels = np.arange(count) % 3
    texts = [
        random.choice(
            VOCAB, random.integers(1, 9), p=np.roll([0.5, 0.3, 0.1, 0.05, 0.05], k)
        )
        for k in labels
    ]
    return texts, labels


@pytest.mark.filterwarnings("error")
def test_a_class_without_a_text_is_never_told_and_is_named():
    texts, labels = texts_of()
    names = ("one", "rare", "two", "three")
    labels = np.array([0, 2, 3])[labels]
    found = NaiveBayes().fit(texts, labels, names, VOCAB)
    assert found.statement.endswith("of 4 classes. Of rare there is none.")
    told = np.exp(found.log_probabilities(texts))
    assert (told[:, 1] == 0).all() and np.allclose(told.sum(1), 1)


@pytest.mark.parametrize("binary", [True, False])
def test_naive_bayes_is_its_definition(binary):
    texts, labels = texts_of()
    model = NaiveBayes(order=2, smoothing=0.5, binary=binary)
    fitted = model.fit(texts, labels, ("a", "b", "c"), VOCAB)

    def counted(text):
        found = grams_of(text.tolist(), 2)
        return Counter(found.keys()) if binary else found

    totals = [Counter() for _ in range(3)]
    for text, label in zip(texts, labels, strict=True):
        totals[label].update(counted(text))
    known = set().union(*totals)
    new = [np.array([0, 1, 1, 4]), np.array([3, 3])]
    for text, found in zip(new, fitted.log_probabilities(new), strict=True):
        joint = []
        for k, total in enumerate(totals):
            whole = sum(total.values()) + 0.5 * len(known)
            score = math.log((labels == k).mean())
            for gram, n in counted(text).items():
                if gram in known:
                    score += n * math.log((total[gram] + 0.5) / whole)
            joint.append(score)
        wanted = np.array(joint) - np.logaddexp.reduce(joint)
        np.testing.assert_allclose(found, wanted, rtol=1e-9)


def test_the_ratio_is_that_of_shares():
    counts = bags(
        [np.array(t) for t in ([0], [0, 1], [1])],
        learn_grams([np.arange(2)], 1, 2),
        True,
    )
    own = np.array([True, True, False])
    p, q = np.array([2 + 1, 1 + 1]), np.array([0 + 1, 1 + 1])
    wanted = np.log((p / p.sum()) / (q / q.sum()))
    np.testing.assert_allclose(log_count_ratio(counts, own, 1.0), wanted)


def test_the_weighed_form_is_at_the_minimum_of_its_loss():
    """Its gradient is 0, the penalty is of weights alone, and b has none."""
    texts, labels = texts_of()
    counts = bags(texts, learn_grams(texts, 2, VOCAB), True)
    own = labels == 1
    features = counts * log_count_ratio(counts, own, 1.0)
    weights, bias = logistic(features, own, penalty=0.3)
    error = expit(features @ weights + bias) - own
    np.testing.assert_allclose(features.T @ error + 0.3 * weights, 0, atol=2e-3)
    assert abs(error.sum()) < 2e-3


@pytest.mark.parametrize("weights", ["counted", "logistic"])
def test_probabilities_add_up_and_are_read_back(weights, tmp_path):
    texts, labels = texts_of()
    for classes in (2, 3):
        chosen = labels < classes
        some = [t for t, c in zip(texts, chosen, strict=True) if c]
        model = NaiveBayes(weights=weights, interpolation=0.5)
        fitted = model.fit(some, labels[chosen], ("a", "b", "c")[:classes], VOCAB)
        found = fitted.log_probabilities(texts)
        np.testing.assert_allclose(np.exp(found).sum(1), 1)
        right = found.argmax(1)[chosen] == labels[chosen]
        assert right.mean() > 0.7
        fitted.save(tmp_path / "m.npz")
        again = load_classes(tmp_path / "m.npz")
        np.testing.assert_array_equal(again.log_probabilities(texts), found)
        assert again.labels == fitted.labels
    (tmp_path / "m.npz").write_bytes(b"no")
    with pytest.raises(UserError, match="is damaged, or no classifier"):
        load_classes(tmp_path / "m.npz")


def test_a_class_against_the_other_is_its_mirror_image():
    texts, labels = texts_of()
    some = [t for t, k in zip(texts, labels, strict=True) if k < 2]
    own = labels[labels < 2]
    model = NaiveBayes(weights="logistic")
    found = model.fit(some, own, ("a", "b"), VOCAB).log_probabilities(texts)
    swapped = model.fit(some, 1 - own, ("b", "a"), VOCAB).log_probabilities(texts)
    np.testing.assert_allclose(found, swapped[:, ::-1], atol=1e-2)
    assert (found.argmax(1) == 1 - swapped.argmax(1)).all()
