"""Pairs are counted as two loops over the text would count them."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.data import cooccurrence
from lm_jax.data.cooccurrence import Cooccurrences, count_pairs, pair_row, shuffled
from lm_jax.errors import UserError
from lm_jax.text import Corpus
from lm_jax.tokenizers import Words
from tests.properties import quick

UNKNOWN, END = 0, 1
texts = st.lists(st.integers(0, 6), max_size=60)
KNOWN = np.array([False, False, True, True, True, True, True])
ENDS = np.arange(7) == END


def naive(ids, window):
    """Pennington et al. 2014, 4.2: each pair at a distance d adds 1/d, both ways."""
    counts = Counter()
    sentence = []
    for token in [*ids, END]:
        if token == END:
            for i, word in enumerate(sentence):
                for d in range(1, min(window, i) + 1):
                    counts[word, sentence[i - d]] += 1 / d
                    counts[sentence[i - d], word] += 1 / d
            sentence = []
        elif token != UNKNOWN:
            sentence.append(token)
    return counts


@quick
@given(texts, st.integers(1, 5), st.sampled_from([3, 7, 1 << 20]))
def test_counts_equal_a_naive_loop(ids, window, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cooccurrence, "_BLOCK", block)
        pairs = count_pairs(np.array(ids, np.uint8), KNOWN, ENDS, window)
    found = dict(zip(zip(*pairs[:2], strict=True), pairs.counts, strict=True))
    expected = naive(ids, window)
    assert len(found) == len(pairs.counts)
    assert set(found) == set(expected)
    for pair, count in expected.items():
        np.testing.assert_allclose(found[pair], count, rtol=1e-6)


def test_a_vocabulary_whose_square_is_beyond_32_bits():
    ids = np.array([2**17 - 1, 2**17 - 2], np.uint32)
    known = np.ones(2**17, bool)
    pairs = count_pairs(ids, known, ~known, 1)
    assert pairs.inputs.tolist() == [2**17 - 2, 2**17 - 1]
    assert pairs.contexts.tolist() == [2**17 - 1, 2**17 - 2]


def test_an_epoch_has_each_pair_once(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("the cat sat on the mat and the dog sat on the cat " * 9)
    made = Cooccurrences(Corpus(str(path)), Words(), window=3, pairs=7).prepare(
        tmp_path
    )
    rows = made.train(0, 2)
    ids = made.splits["train"].ids
    unknown = made.tokenizer.unknown_id
    known = np.arange(made.vocab_size) != unknown
    whole = count_pairs(ids, known, ~known & False, 3)
    assert made.examples(2) == -(-len(whole.counts) // 7)
    for epoch in range(2):
        seen = [rows[epoch * made.examples(2) + i] for i in range(made.examples(2))]
        real = np.concatenate([row["counts"] for row in seen]) > 0
        inputs = np.concatenate([row["inputs"] for row in seen])[real]
        contexts = np.concatenate([row["contexts"] for row in seen])[real]
        found = sorted(zip(inputs.tolist(), contexts.tolist(), strict=True))
        expected = zip(whole.inputs.tolist(), whole.contexts.tolist(), strict=True)
        assert found == sorted(expected)
    held = made.evaluation("validation", 4)
    assert all(part["counts"].shape == (4, 7) for part in held)
    assert f"{len(whole.counts)} pairs of words meet" in made.statement


def test_pairs_are_shuffled_the_same_way_each_time():
    ids = np.random.default_rng(0).integers(2, 7, 500).astype(np.uint8)
    pairs = count_pairs(ids, KNOWN, ENDS, 5)
    first, again = shuffled(pairs), shuffled(pairs)
    assert first.counts.tolist() == again.counts.tolist() != pairs.counts.tolist()
    assert sorted(first.counts.tolist()) == sorted(pairs.counts.tolist())
    assert pair_row(pairs, 0, 4)["counts"].dtype == np.float32


def test_what_cannot_be_counted(tmp_path):
    with pytest.raises(UserError, match="data.window=0"):
        Cooccurrences(window=0)
    with pytest.raises(UserError, match="data.pairs=0"):
        Cooccurrences(pairs=0)
    path = tmp_path / "a.txt"
    path.write_text("a\nb\n" * 20)
    with pytest.raises(UserError, match="No two known words .* meet"):
        Cooccurrences(Corpus(str(path)), Words()).prepare(tmp_path)
