"""Words are thinned, surrounded and told from noise as the papers say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.data.contexts import (
    HuffmanTree,
    Noise,
    WordContexts,
    context_row,
    kept_shares,
    row_edges,
)
from lm_jax.data.randomness import uniform
from lm_jax.errors import UserError
from lm_jax.text import Corpus
from lm_jax.tokenizers import Words
from tests.properties import quick

NO_ENDS = np.zeros(50, bool)


def known_text(
    tmp_path, line="the cat sat on the mat and the dog sat on the cat ", n=99
):
    path = tmp_path / "a.txt"
    path.write_text(line * n)
    return Corpus(str(path))


def small(corpus, **fields):
    fields = {"window": 3, "words": 32, "targets": Noise(group=16, shared=8), **fields}
    return WordContexts(corpus, Words(), **fields)


@quick
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=30),
    st.integers(1, 4),
    st.integers(0, 2**31),
    st.integers(1, 40),
)
def test_near_words_equal_a_naive_loop(ids, window, seed, words):
    """0 ends windows, 1 is left out."""
    ids = np.array(ids, np.uint8)
    reach = np.random.default_rng(seed).integers(1, window + 1, words)
    row = context_row(ids, ids > 1, np.arange(5) == 0, reach, window)
    sentences = np.cumsum(ids == 0)[ids > 1][:words]
    kept = ids[ids > 1][:words]
    assert row["inputs"].tolist() == kept.tolist() + [0] * (words - len(kept))
    for i in range(words):
        for k in range(2 * window + 1):
            j = i + k - window
            expected = (
                max(i, j) < len(kept)
                and j >= 0
                and 0 < abs(i - j) <= reach[i]
                and sentences[i] == sentences[j]
            )
            assert row["near"][i, k] == expected


@quick
@given(
    st.lists(st.integers(0, 4), max_size=300),
    st.lists(st.floats(0.0, 1.0), min_size=5, max_size=5),
    st.integers(1, 40),
)
def test_rows_cut_the_whole_stream(ids, keep, words):
    edges = row_edges(np.array(ids, np.uint8), np.array(keep), words)
    assert edges[0] == 0 and edges[-1] == len(ids)
    assert np.all(np.diff(edges) >= 0)


def test_rows_without_chance_are_full():
    ids = np.arange(200, dtype=np.uint8) % 50
    keep = np.ones(50)
    keep[3] = 0.0
    edges = row_edges(ids, keep, 49)
    kept = [int((ids[a:b] != 3).sum()) for a, b in zip(edges, edges[1:], strict=False)]
    assert kept == [49, 49, 49, 49]


def test_next_to_no_word_overflows_its_row():
    rng = np.random.default_rng(0)
    ids, keep = rng.integers(0, 50, 200_000), rng.random(50)
    edges = row_edges(ids, keep, 256)
    chosen = rng.random(len(ids)) < keep[ids]
    sizes = np.diff(np.concatenate([[0], np.cumsum(chosen)])[edges])
    assert np.maximum(sizes - 256, 0).sum() < 1e-4 * chosen.sum()
    assert sizes.mean() > 0.8 * 256


def test_the_share_that_stays_is_word2vecs():
    counts = np.array([0, 1, 100, 5_000, 94_899])
    keep = kept_shares(counts, 1e-3)
    f = counts[2:] / counts.sum()
    expected = np.minimum(1, (np.sqrt(f / 1e-3) + 1) * 1e-3 / f)
    np.testing.assert_allclose(keep[2:], expected)
    assert keep[0] == 0 and keep[1] == 1 and keep[4] < 0.05
    assert kept_shares(counts, 0.0).tolist() == [0, 1, 1, 1, 1]


def test_training_keeps_the_expected_share_of_each_word(tmp_path):
    data = small(known_text(tmp_path, n=2000), subsample=0.05)
    made = data.prepare(tmp_path)
    ids, size = made.splits["train"].ids, made.vocab_size
    counts = np.bincount(ids, minlength=size)
    keep = kept_shares(counts, 0.05)
    rows = made.train(0, 1)
    seen = np.zeros(size)
    for i in range(made.examples(1)):
        row = rows[i]
        assert row["inputs"].shape == (32,) and row["near"].shape == (32, 7)
        real = row["near"].any(1)
        seen += np.bincount(row["inputs"][real], minlength=size)
    spread = np.sqrt(counts * keep * (1 - keep))
    assert np.all(np.abs(seen - counts * keep) <= 5 * spread + 0.002 * counts)
    assert keep.min() < 0.7


@pytest.mark.parametrize("power", [0.75, 0.0, 1.0])
def test_noise_is_drawn_by_the_power_of_the_counts(power):
    counts = np.array([0, 1000, 200, 30, 4])
    noise = Noise(negatives=5, shared=1000, group=1, power=power).answers(counts)
    row = noise(np.zeros(200, np.int32), uniform(0, "test"))
    found = np.bincount(row["noise"].ravel(), minlength=5)
    weights = np.array([0, *counts[1:] ** power])
    expected = weights / weights.sum() * found.sum()
    assert found[0] == 0
    chi_square = ((found - expected)[1:] ** 2 / expected[1:]).sum()
    assert chi_square < 16.3  # 3 degrees of freedom, p = 0.001
    assert row["noise_weight"].shape == (200, 1000)
    np.testing.assert_allclose(row["noise_weight"].sum(1), 5.0, rtol=1e-5)


def test_a_row_depends_on_seed_and_number_only(tmp_path):
    corpus = known_text(tmp_path)
    made = small(corpus).prepare(tmp_path)
    rows, backwards = made.train(3, 1), made.train(3, 8)
    count = 2 * made.examples(1)
    later = [backwards[i] for i in reversed(range(count))][::-1]
    for i in range(count):
        assert all(np.array_equal(rows[i][k], later[i][k]) for k in rows[i])
    other = made.train(4, 1)
    assert any(not np.array_equal(rows[i]["near"], other[i]["near"]) for i in range(5))
    epochs = [
        sum(rows[e * count // 2 + i]["near"].sum() for i in range(count // 2))
        for e in range(2)
    ]
    assert epochs[0] != epochs[1]


def test_evaluation_sees_every_word_with_its_whole_window(tmp_path):
    made = small(known_text(tmp_path)).prepare(tmp_path)
    windows = made.evaluation("validation", 3)
    ids = made.splits["validation"].ids
    ids = ids[ids != made.tokenizer.unknown_id]
    real = np.concatenate([w["near"].any(-1).ravel() for w in windows])
    seen = np.concatenate([w["inputs"].ravel() for w in windows])[real]
    assert seen.tolist() == ids.tolist()
    first = windows[0]["near"][0]
    assert first[10].tolist() == [True] * 3 + [False] + [True] * 3
    again = made.evaluation("validation", 3)[0]
    assert all(np.array_equal(windows[0][k], again[k]) for k in again)


def test_windows_end_where_lines_do(tmp_path):
    corpus = known_text(tmp_path, "a b\nc d\n")
    made = small(corpus, subsample=0.0).prepare(tmp_path)
    one = {name: made.tokenizer.encode(name).item() for name in "abcd"}
    partner = {one[a]: one[b] for a, b in ("ab", "ba", "cd", "dc")}
    row = made.evaluation("train", 1)[0]
    inputs, near = row["inputs"][0], row["near"][0]
    for i in range(28):
        met = [inputs[i + k - 3] for k in range(7) if near[i, k]]
        assert met == [partner[inputs[i]]]


def test_paths_of_a_tree_are_those_of_the_words(tmp_path):
    made = small(known_text(tmp_path), targets=HuffmanTree()).prepare(tmp_path)
    row = made.train(0, 1)[0]
    assert row["nodes"].shape == row["turns"].shape
    assert row["nodes"].shape[0] == 32 and "noise" not in row


def test_contexts_that_cannot_be(tmp_path):
    with pytest.raises(UserError, match="data.window=0"):
        WordContexts(window=0)
    for name in ("negatives", "shared", "group"):
        with pytest.raises(UserError, match=f"{name}=0"):
            Noise(**{name: 0})
    with pytest.raises(UserError, match="words=1000 .* The nearest that is: 1024"):
        WordContexts(words=1000)
    with pytest.raises(UserError, match="subsample=2.0"):
        WordContexts(subsample=2.0)
    corpus = known_text(tmp_path, "a ")
    with pytest.raises(UserError, match=r"1 different word\(s\)"):
        small(corpus).prepare(tmp_path)
