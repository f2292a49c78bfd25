"""Every token is seen as often as is said, and row i depends on (seed, i) only."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.data import (
    CarriedStream,
    Coded,
    MaskedStream,
    Mixture,
    PackedDocuments,
    TokenStream,
)
from lm_jax.data.packing import packed_rows, packed_windows
from lm_jax.data.streams import rows_of_epoch, stream_rows, stream_windows
from lm_jax.data.tokens import Tokens
from lm_jax.data.windows import stream_window, windows_of
from lm_jax.errors import UserError
from lm_jax.text import Corpus
from lm_jax.tokenizers import Bytes, Characters
from tests.properties import quick

sizes = st.tuples(st.integers(1, 9), st.integers(2, 60)).filter(lambda s: s[1] > s[0])


def documents_of(lengths):
    """Tokens of documents, each token unlike all others."""
    ends = np.concatenate([[0], np.cumsum(lengths)])
    ids = np.arange(ends[-1], dtype=np.uint16)
    return Tokens(ids, ends.astype(np.int64), (0, len(ids)), 0, Coded())


@quick
@given(sizes, st.integers(0, 2**31), st.integers(0, 5))
def test_an_epoch_of_a_stream_sees_each_token_at_most_once(size, seed, epoch):
    context, tokens = size
    ids = np.arange(tokens, dtype=np.uint8)
    rows, count = stream_rows(ids, context, seed), rows_of_epoch(tokens, context)
    seen = []
    for i in range(epoch * count, (epoch + 1) * count):
        row = rows[i]
        assert row["inputs"].dtype == row["targets"].dtype == np.int32
        np.testing.assert_array_equal(row["targets"], row["inputs"] + 1)
        seen += row["targets"].tolist()
    assert len(set(seen)) == len(seen) == count * context
    assert max(seen) - min(seen) == len(seen) - 1
    assert tokens - 1 - len(seen) < 2 * context


def test_epochs_differ_in_order_and_offset():
    ids = np.arange(1000, dtype=np.uint16)
    rows, count = stream_rows(ids, 10, 0), rows_of_epoch(1000, 10)
    starts = [
        [int(rows[e * count + i]["inputs"][0]) for i in range(count)] for e in range(9)
    ]
    assert len({epoch[0] % 10 for epoch in starts}) > 3
    orders = [np.argsort(epoch).tolist() for epoch in starts]
    assert all(orders[0] != order for order in orders[1:])
    assert sorted(orders[0]) == list(range(count))


def test_seeds_share_no_epoch():
    ids = np.arange(1000, dtype=np.uint16)
    count = rows_of_epoch(1000, 10)

    def order(seed, epoch):
        rows = stream_rows(ids, 10, seed)
        firsts = [int(rows[epoch * count + i]["inputs"][0]) for i in range(count)]
        return tuple(np.argsort(firsts).tolist())

    orders = {order(seed, epoch) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


@quick
@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=3),
    st.integers(1, 9),
    st.integers(1, 5),
)
def test_evaluation_has_each_target_once(lengths, context, batch):
    bounds = np.cumsum([0, *lengths])
    streams = [
        np.arange(a, b, dtype=np.uint8)
        for a, b in zip(bounds[:-1], bounds[1:], strict=True)
    ]
    seen = []
    for window in stream_windows(streams, context, batch):
        assert window["inputs"].shape == (batch, context)
        real = window["mask"] == 1
        assert np.all(window["targets"][real] == window["inputs"][real] + 1)
        assert np.all(window["targets"][~real] == 0)
        seen += window["targets"][real].tolist()
    assert seen == [int(i) for ids in streams for i in ids[1:]]


@quick
@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=12).filter(lambda n: sum(n) > 1),
    st.integers(1, 9),
    st.integers(0, 99),
    st.integers(0, 3),
)
def test_a_packed_epoch_has_each_token_once(lengths, context, seed, epoch):
    tokens = documents_of(lengths)
    starts = set(tokens.documents[:-1].tolist())
    rows = packed_rows(tokens, context, seed)
    count = -(-(sum(lengths) - 1) // context)
    targets, inputs = [], []
    for i in range(epoch * count, (epoch + 1) * count):
        row = rows[i]
        assert all(array.shape == (context,) for array in row.values())
        real = row["segments"] > 0
        inputs += row["inputs"][real].tolist()
        assert np.array_equal(real, row["mask"] == 1)
        read, scored = row["inputs"][real], row["targets"][real]
        begins = np.isin(scored, list(starts))
        assert np.all(begins | (scored == read + 1))
        assert np.all(np.isin(read[begins] + 1, [*starts, sum(lengths)]))
        targets += scored.tolist()
        check_segments(row, starts)
    (first,) = set(range(sum(lengths))) - set(targets)
    assert first in starts
    assert len(targets) == len(set(inputs)) == sum(lengths) - 1


def check_segments(row, starts):
    """Segments count the documents that a row writes, read from the end before."""
    real = row["segments"] > 0
    segments, positions = row["segments"][real], row["positions"][real]
    assert segments[0] == 1 and positions[0] == 0
    new = np.array([int(i) in starts for i in row["targets"][real]])
    new[0] = True
    np.testing.assert_array_equal(segments, np.cumsum(new))
    expected = np.arange(len(new)) - np.maximum.accumulate(
        np.where(new, np.arange(len(new)), 0)
    )
    np.testing.assert_array_equal(positions, expected)
    assert np.all(row["mask"][~real] == 0)


@quick
@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=9).filter(lambda n: sum(n) > 1),
    st.integers(1, 9),
    st.integers(1, 4),
)
def test_packed_evaluation_has_each_target_once(lengths, context, batch):
    tokens = documents_of(lengths)
    seen = []
    for window in packed_windows(tokens, context, batch):
        assert window["mask"].shape == (batch, context)
        seen += window["targets"][window["mask"] == 1].tolist()
    assert seen == list(range(1, sum(lengths)))


def test_packed_documents_change_their_order():
    tokens = documents_of([3] * 50)
    rows = packed_rows(tokens, 149, 0)
    orders = [rows[i]["inputs"][::3].tolist() for i in range(4)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(0, 150, 3))
    assert len(set(map(tuple, orders))) == 4


def test_packed_chinese_poems(tmp_path):
    packed = PackedDocuments(Corpus("tangshi300"), Characters(unknown=True), 256)
    made = packed.prepare(tmp_path)
    row, end = made.train(0, 1)[0], made.tokenizer.end_id
    ends = np.flatnonzero(row["inputs"] == end)
    assert len(ends) and np.all(row["positions"][ends] == 0)
    again = made.train(0, 1)[0]
    assert all(np.array_equal(row[name], again[name]) for name in row)
    masks = sum(window["mask"].sum() for window in made.evaluation("validation", 4))
    split = made.splits["validation"]
    assert masks == len(split.ids) - 1


def test_a_text_that_is_too_short(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("abcdefghij")
    corpus = Corpus(str(path))
    for kind in (TokenStream, CarriedStream, MaskedStream):
        with pytest.raises(UserError, match="'train' has .* too short for .*=9"):
            kind(corpus, Bytes(), 9).prepare(tmp_path).order(0, 1)
    made = TokenStream(corpus, Bytes(), 8).prepare(tmp_path)
    assert made.train(0, 1)[5]["inputs"].shape == (8,)
    with pytest.raises(UserError, match="'validation' has 1 token"):
        made.evaluation("validation", 1)
    with pytest.raises(UserError, match="'test' has 0 token"):
        made.evaluation("test", 1)
    with pytest.raises(UserError, match="context=0"):
        TokenStream(corpus, Bytes(), 0)


@pytest.mark.parametrize(
    "kind", [TokenStream, CarriedStream, PackedDocuments, MaskedStream]
)
def test_a_text_that_is_shorter_than_a_context_is_scored_whole(tmp_path, kind):
    """All is one text, as of `evaluate --corpus`: each token but the first, once."""
    path = tmp_path / "a.txt"
    path.write_text("abcdef")
    made = kind(Corpus(str(path), validation=0.0), Bytes(), 16).prepare(tmp_path)
    said = made.statement
    assert "Nothing of it is held out." in said and "\nall: " in said
    assert "train" not in said.replace("trained", "").replace(str(path), "")
    size = max(made.rows(0, 4), made.lanes or 0)
    assert made.rows(0, 4) == 4 and made.rows(0, "64 tokens") == 4
    batches = list(made.evaluation("train", size))
    if kind is MaskedStream:
        return
    targets = [b["targets"][b["mask"] > 0] for b in batches]
    found = np.concatenate(targets).tolist()
    assert made.tokenizer.decode(found) == "bcdef"


def parts(*contexts):
    """A stream of Shakespeare and one of Tang poems."""
    names = ("tinyshakespeare", "tangshi300")
    return tuple(
        TokenStream(Corpus(name), Characters(unknown=True), context)
        for name, context in zip(names, contexts, strict=True)
    )


def test_a_mixture_keeps_its_weights_and_parts(tmp_path):
    made = Mixture(parts(32, 32), (1.0, 3.0)).prepare(tmp_path)
    rows = made.train(0, 1)
    # Every character of the poems stands behind the Latin letters.
    chinese = made.tokenizer.encode("z").item()
    kinds = Counter(
        "poems" if (rows[i]["inputs"] > chinese).mean() > 0.5 else "plays"
        for i in range(4000)
    )
    assert abs(kinds["poems"] / 4000 - 0.75) < 0.01
    boundary = made.splits["train"].parts[1]
    plays = made.tokenizer.decode(made.splits["train"].ids[boundary - 30 : boundary])
    assert plays.isascii()
    assert "75.0% tangshi300" in made.statement
    seen = sum(int(w["mask"].sum()) for w in made.evaluation("validation", 8))
    assert seen == len(made.splits["validation"].ids) - 2


def test_a_mixture_is_scored_by_the_stride_of_its_parts(tmp_path):
    strided = [replace(part, stride=8) for part in parts(32, 32)]
    made = Mixture(tuple(strided), (1.0, 1.0)).prepare(tmp_path)
    assert "at least 24 before each" in made.policy
    batches = list(made.evaluation("validation", 64))
    ids = made.splits["validation"].ids
    assert sum(int(batch["mask"].sum()) for batch in batches) == len(ids) - 2
    assert (np.concatenate([b["mask"].sum(1) for b in batches])[1:9] == 8).all()
    with pytest.raises(UserError, match="one stride, but have 8, None"):
        Mixture((strided[0], parts(32, 32)[1]), (1.0, 1.0))


def test_mixtures_that_do_not_fit():
    with pytest.raises(UserError, match="one context, but have 32, 64"):
        Mixture(parts(32, 64), (1.0, 1.0))
    with pytest.raises(UserError, match="2 parts and 1 weights"):
        Mixture(parts(32, 32), (1.0,))
    with pytest.raises(UserError, match="above 0"):
        Mixture(parts(32, 32), (1.0, 0.0))
    other = TokenStream(Corpus(), Bytes(), 32)
    with pytest.raises(UserError, match="same tokenizer"):
        Mixture((*parts(32, 32), other), (1.0, 1.0, 1.0))


@quick
@given(tokens=st.integers(2, 90), context=st.integers(1, 12), stride=st.integers(1, 12))
def test_with_a_stride_each_token_is_scored_once_with_enough_before_it(
    tokens, context, stride
):
    stride, ids = min(stride, context), np.arange(tokens)
    scored = []
    for index in range(windows_of(tokens, context, stride)):
        row = stream_window(ids, context, index, stride)
        assert len(row["inputs"]) == context
        for place in np.flatnonzero(row["mask"]):
            target = row["targets"][place]
            before = row["inputs"][: place + 1]
            np.testing.assert_array_equal(before, ids[target - len(before) : target])
            assert len(before) >= min(target, context - stride)
            scored.append(target)
    assert scored == list(range(1, tokens))
