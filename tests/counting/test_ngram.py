"""Probabilities are what the definitions say, and they sum to one."""

import errno
import itertools
import json
import math
import os
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.counting import (
    AddK,
    KneserNey,
    MaximumLikelihood,
    NGram,
    StupidBackoff,
    fitted,
    load,
    scratch,
    sorting,
)
from lm_jax.data import TokenStream
from lm_jax.errors import UserError
from lm_jax.text import Corpus
from lm_jax.tokenizers import Words
from tests.counting import Naive, corpora, log
from tests.properties import quick, slow_but
from tests.text import needs

SMOOTHINGS = [
    MaximumLikelihood(),
    AddK(0.3),
    KneserNey(),
    KneserNey(discounts=1),
    StupidBackoff(),
]
every_smoothing = pytest.mark.parametrize("smoothing", SMOOTHINGS, ids=repr)


def definition(smoothing, naive):
    """Give p(word, context) by the definition of a smoothing."""
    if isinstance(smoothing, KneserNey):
        return naive.kneser_ney
    if isinstance(smoothing, MaximumLikelihood):
        return naive.maximum_likelihood
    if isinstance(smoothing, AddK):
        return partial(naive.add_k, k=smoothing.k)
    score = partial(naive.stupid, alpha=smoothing.alpha)
    words = range(naive.vocab_size)
    return lambda word, h: score(word, h) / sum(score(w, h) for w in words)


def every_context(vocab_size, length):
    rows = list(itertools.product(range(vocab_size), repeat=length))
    return np.array(rows, np.int64).reshape(len(rows), length)


@every_smoothing
@quick
@given(corpora())
def test_probabilities_sum_to_one(smoothing, corpus):
    ids, vocab_size, order, end_id = corpus
    # One word more than the text has: it is never seen.
    model = NGram(order, smoothing).fit(ids, vocab_size + 1, end_id)
    for length in range(order):
        p = model.next_probabilities(every_context(vocab_size + 1, length))
        assert (p >= 0).all()
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
        if not isinstance(smoothing, MaximumLikelihood | StupidBackoff):
            assert (p > 0).all()


@every_smoothing
@quick
@given(corpora(), st.data())
def test_the_definitions_to_the_last_digit(smoothing, corpus, data):
    ids, vocab_size, order, end_id = corpus
    other, _, _, _ = data.draw(corpora(most=20))
    text = np.minimum(other, vocab_size - 1)
    discounts = getattr(smoothing, "discounts", 3)
    naive = Naive(ids, vocab_size, order, end_id, discounts)
    p = definition(smoothing, naive)
    model = NGram(order, smoothing).fit(ids, vocab_size, end_id)
    wanted = [log(p(word, h)) for word, h in naive.contexts(text)]
    found = model.log_probabilities(text)
    np.testing.assert_allclose(np.exp(found), np.exp(wanted), rtol=0, atol=1e-12)
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


@every_smoothing
@quick
@given(corpora(), st.booleans())
def test_the_next_token_is_scored_as_in_a_stream(smoothing, corpus, reset):
    ids, vocab_size, order, end_id = corpus
    model = NGram(order, smoothing, reset).fit(ids, vocab_size, end_id)
    width = order + 1
    rows = [ids[max(0, place - width) : place] for place in range(1, len(ids))]
    contexts = np.full((len(rows), width), -1)
    for row, recent in zip(contexts, rows, strict=True):
        row[width - len(recent) :] = recent
    p = model.next_probabilities(contexts)[np.arange(len(rows)), ids[1:]]
    with np.errstate(divide="ignore"):
        np.testing.assert_array_equal(model.log_probabilities(ids), np.log(p))


@quick
@given(corpora(), st.integers(1, 7))
def test_blocks_change_nothing(corpus, block):
    ids, vocab_size, order, end_id = corpus
    model = NGram(order).fit(ids, vocab_size, end_id)
    whole = model.log_probabilities(ids)
    told = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitted, "_BLOCK", block)
        parts = model.log_probabilities(ids, lambda *report: told.append(report))
    np.testing.assert_array_equal(whole, parts)
    assert told[-1] == ("scoring", len(ids), len(ids))


@pytest.mark.parametrize(
    "smoothing", slow_but([KneserNey(), StupidBackoff()], KneserNey()), ids=repr
)
@quick
@given(corpora(), st.integers(1, 9), st.integers(1, 9), st.sampled_from([90, None]))
def test_parts_and_files_change_nothing(smoothing, corpus, rows, piece, most):
    """A stream that is dealt into ranges, worked on in pieces and kept in files."""
    ids, vocab_size, order, end_id = corpus
    whole = NGram(order, smoothing).fit(ids, vocab_size, end_id)
    told = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorting, "_RANGE", rows)
        patch.setattr(sorting, "_MOST", most or sorting._MOST)
        patch.setattr(scratch, "_PIECE", piece)
        patch.setattr(scratch, "_KEPT", 0)
        parts = NGram(order, smoothing).fit(
            ids, vocab_size, end_id, lambda *report: told.append(report)
        )
    for one, other in zip(whole.tables, parts.tables, strict=True):
        for array, mapped in zip(one, other, strict=True):
            np.testing.assert_array_equal(array, mapped)
    done = {what: (last, total) for what, last, total in told}
    assert all(last == total for last, total in done.values())
    assert set(done) >= {"sorting the n-grams", "counting", "weighing"}
    assert ("reading the n-grams" in done) == (len(ids) > rows)


def test_nothing_is_left_of_large_arrays(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "_KEPT", 0)
    folder = tmp_path / "new"
    array = scratch.Scratch(folder).array(5)
    array[:] = np.arange(5)
    assert list(folder.iterdir()) == []
    np.testing.assert_array_equal(array, np.arange(5))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EOPNOTSUPP])
def test_a_full_disk_is_met_before_a_large_array_is_filled(code, tmp_path, monkeypatch):
    """Written to without room, a mapped file kills the process by SIGBUS."""

    def refused(file, start, size):
        assert (start, size) == (0, 40)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(scratch, "_KEPT", 0)
    monkeypatch.setattr(os, "posix_fallocate", refused, raising=False)
    if code == errno.EOPNOTSUPP:  # the file system can't tell beforehand
        assert len(scratch.Scratch(tmp_path).array(5)) == 5
        return
    with pytest.raises(UserError, match="disk is full"):
        scratch.Scratch(tmp_path).array(5)


def test_a_bag_of_words_is_their_frequencies():
    ids = np.array([0, 1, 1, 3, 1, 0], np.uint8)
    model = NGram(1, MaximumLikelihood()).fit(ids, 4)
    frequencies = np.array([2, 3, 0, 1]) / 6
    p = model.next_probabilities(np.zeros((1, 0), int))
    np.testing.assert_allclose(p, [frequencies])
    found = model.log_probabilities(np.array([0, 3, 2]))
    np.testing.assert_allclose(found, [math.log(1 / 6), -math.inf])
    assert model.parameters == 3


@pytest.mark.parametrize("smoothing", [KneserNey(), MaximumLikelihood()], ids=repr)
def test_unseen_contexts_back_off(smoothing):
    ids = np.array([0, 1, 2, 0, 1, 3, 0, 2, 2, 1, 0])
    model = NGram(3, smoothing).fit(ids, 5)
    unseen, short = np.array([[3, 2], [4, 4]]), np.array([[2], [4]])
    p = model.next_probabilities(unseen)
    np.testing.assert_array_equal(p, model.next_probabilities(short))
    np.testing.assert_array_equal(p[1:], model.next_probabilities(unseen[:1, :0]))


def test_add_k_knows_nothing_after_an_unseen_context():
    model = NGram(2, AddK()).fit(np.array([0, 0, 0, 1]), 3)
    p = model.next_probabilities(np.array([[2], [0]]))
    np.testing.assert_allclose(p, [[1 / 3, 1 / 3, 1 / 3], [3 / 6, 2 / 6, 1 / 6]])


def test_contexts_begin_anew_after_an_end():
    ids = np.array([1, 2, 0, 1, 2, 0, 2, 1, 0])
    contexts = np.array([[1, 2, 0], [2, 1, 0]])
    anew = NGram(4).fit(ids, 3, end_id=0).next_probabilities(contexts)
    np.testing.assert_array_equal(anew[0], anew[1])
    across = NGram(4, reset=False).fit(ids, 3, end_id=0).next_probabilities(contexts)
    assert abs(across[0] - across[1]).max() > 0.01


def test_a_text_of_ends_alone():
    model = NGram(4).fit(np.zeros(6, int), 2, end_id=0)
    p = model.next_probabilities(np.zeros((1, 3), int))
    np.testing.assert_allclose(p.sum(), 1)


def test_large_ids_do_not_overflow():
    vocab_size = 2**40
    ids = np.random.default_rng(0).integers(0, 20, 500)
    large = (ids + vocab_size - 20).astype(np.uint64)
    for smoothing in SMOOTHINGS:
        small_loss = NGram(5, smoothing).fit(ids, vocab_size).log_probabilities(ids)
        large_loss = NGram(5, smoothing).fit(large, vocab_size).log_probabilities(large)
        np.testing.assert_array_equal(small_loss, large_loss)
    with pytest.raises(UserError, match="63 bits"):
        NGram(5).fit(large, 2**60)


def test_rows_whose_numbers_just_fit_are_sorted():
    size = math.isqrt(np.iinfo(np.int64).max // 4) - 1
    ids = np.array([size - 1, size - 1, size - 2, size - 1])
    rows = sorting.Rows(ids, 4, size, ())
    (found,) = rows.ranges(scratch.Scratch(), None)
    expected = zip(*rows.keys(slice(0, 4)), strict=True)
    assert list(zip(*found, strict=True)) == sorted(expected)


@every_smoothing
def test_save_and_load(tmp_path, smoothing):
    ids = np.random.default_rng(0).integers(0, 9, 300)
    model = NGram(3, smoothing).fit(ids, 9, end_id=4)
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]
    for name in ("vocab_size", "end_id", "statement", "parameters", "order"):
        assert getattr(again, name) == getattr(model, name)
    np.testing.assert_array_equal(
        again.log_probabilities(ids), model.log_probabilities(ids)
    )


def test_a_loaded_model_is_mapped_from_its_files(tmp_path):
    NGram(2).fit(np.arange(4), 4).save(tmp_path / "model")
    table = load(tmp_path / "model").tables[0]
    place = np.load(tmp_path / "model/probabilities1.npy", mmap_mode="r+")
    place[2] = 0.625
    place.flush()
    assert table.probabilities[2] == 0.625


def test_a_file_of_an_earlier_version_is_read(tmp_path):
    model = NGram(2).fit(np.array([0, 1, 2, 0]), 4, end_id=(0, 2))
    arrays = {
        f"{name}{order}": array
        for order, table in enumerate(model.tables, 1)
        for name, array in table._asdict().items()
    }
    names = ("vocab_size", "end_id", "backs_off", "statement")
    about = json.dumps({name: getattr(model, name) for name in names})
    np.savez(tmp_path / "model.npz", about=np.array(about), **arrays)
    again = load(tmp_path / "model")
    assert again.end_id == (0, 2)
    ids = np.array([0, 1, 2, 1])
    np.testing.assert_array_equal(
        again.log_probabilities(ids), model.log_probabilities(ids)
    )
    (tmp_path / "model.npz").write_bytes(b"text")
    with pytest.raises(UserError, match="model.npz is damaged, or no n-gram model"):
        load(tmp_path / "model")


def test_folders_that_hold_no_model(tmp_path):
    path = tmp_path / "model"
    with pytest.raises(UserError, match=f"There is no {path}"):
        load(path)
    NGram(2).fit(np.arange(4), 4).save(path)
    for file in sorted(path.iterdir()):
        whole = file.read_bytes()
        for content in (b"", b"text", whole[: len(whole) // 2]):
            file.write_bytes(content)
            with pytest.raises(UserError, match="Move it away and fit the model again"):
                load(path)
        file.unlink()
        with pytest.raises(UserError, match=f"There is no {file}"):
            load(path)
        file.write_bytes(whole)
    assert load(path).order == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NGram(0), "order is 1 or more"),
        (lambda: AddK(0.0), "k must be a positive number"),
        (lambda: AddK(math.inf), "k must be a positive number"),
        (lambda: AddK(math.nan), "k must be a positive number"),
        (lambda: KneserNey(2), "there can be 3"),
        (lambda: StupidBackoff(0.0), "alpha must be above 0"),
        (lambda: NGram(4).fit(np.arange(3), 3), "3 tokens, fewer than one n-gram"),
        (lambda: NGram(1).fit(np.zeros(3, int), 1), "nothing to predict"),
        (lambda: NGram(2).fit(np.arange(9), 8), "a token 8, and the model knows 0 to"),
        (lambda: NGram(2).fit(np.arange(-1, 3), 8), "a token -1"),
    ],
)
def test_mistakes_are_told(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_strange_tokens_are_told_when_scoring():
    model = NGram(2).fit(np.arange(4), 4)
    with pytest.raises(UserError, match="token 7, and the model knows 0 to 3"):
        model.log_probabilities(np.array([0, 7, 9]))
    with pytest.raises(UserError, match="token 4"):
        model.next_probabilities(np.array([[4]]))


@needs("ptb")
def test_the_published_perplexity_of_the_penn_treebank(tmp_path):
    """141.2, as Mikolov and Zweig (2012) and many others give for KN5."""
    made = TokenStream(Corpus("ptb"), Words()).prepare(tmp_path)
    end_id = int(made.tokenizer.encode("\n")[0])
    model = NGram(5).fit(made.splits["train"].ids, made.vocab_size, end_id)
    losses = -model.log_probabilities(made.splits["test"].ids)
    assert len(losses) == 82_429
    assert math.exp(losses.mean()) == pytest.approx(141.2, abs=0.05)
