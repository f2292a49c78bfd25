"""Pairs of texts: the second follows the first, or the label says that it doesn't."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.data import Coded, SentencePairs, rows
from lm_jax.data.pairs import fitted
from lm_jax.data.sentences import marks_of, passages_of, sentences_of
from lm_jax.data.tokens import Tokens
from lm_jax.errors import UserError
from lm_jax.text import Corpus
from lm_jax.tokenizers import Bytes, Characters, Subwords, Words
from tests.properties import quick

# Each word tells its document, its sentence and its place.
SIZES = [[3, 4, 2, 5, 3, 6], [4, 4], [2, 3, 2, 2, 3, 2, 9], [5], [3, 3, 3]]


def documents():
    for d, sizes in enumerate(SIZES * 6):
        words = (
            " ".join(f"d{d}s{s}w{w}" for w in range(n - 1)) for s, n in enumerate(sizes)
        )
        yield " ".join(f"{sentence} ." for sentence in words)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("documents")
    lines = [json.dumps({"text": text}) for text in documents()]
    for split in ("train", "validation"):
        (folder / "table").mkdir(exist_ok=True)
        (folder / "table" / f"{split}.jsonl").write_text("\n".join(lines))
    return folder


def prepared(folder, context=15, **fields):
    data = SentencePairs(Corpus(str(folder / "table")), Words(), context, **fields)
    return data.prepare(folder / "cache")


def read(made, row):
    """The two texts of a row, as (document, sentence, word) of each word."""
    ids = row["originals"][row["segments"] > 0]
    end, kinds = made.tokenizer.end_id, row["types"][: len(ids)]
    places = np.flatnonzero(ids == end)
    assert [0, len(ids) - 1] == places[[0, 2]].tolist() and len(places) == 3
    np.testing.assert_array_equal(kinds, np.arange(len(ids)) > places[1])
    assert not row["types"][len(ids) :].any()
    assert not row["mask"][: len(ids)][places].any()
    parts = ids[1 : places[1]], ids[places[1] + 1 : -1]
    return [
        [
            tuple(map(int, word[1:].replace("s", "w").split("w"))) if "d" in word else 0
            for word in made.tokenizer.symbols(part)
        ]
        for part in parts
    ]


def follows(first, second):
    """Whether the second text begins with the sentence after the first's."""
    end = next(word for word in reversed(first) if word)
    return first[-1] == 0 and second[0] == (end[0], end[1] + 1, 0)


@pytest.mark.parametrize("swap", ["next", "order"])
def test_the_second_text_follows_the_first_iff_the_label_says_so(folder, swap):
    made = prepared(folder, swap=swap)
    dataset, count = made.train(0, 4), made.examples(4)
    labels, seen = [], set()
    for index in range(12 * count):
        row = dataset[index]
        first, second = read(made, row)
        labels.append(int(row["swapped"]))
        owners = {word[0] for word in first if word}, {w[0] for w in second if w}
        assert all(len(each) == 1 for each in owners)
        if not labels[-1]:
            assert follows(first, second)
        elif swap == "order":
            words = [[w for w in text if w] for text in (second, first)]
            assert words[0][-1] < words[1][0] and words[0][0][2] == 0
            assert len(first + second) == 12 or follows(second, first)
        else:
            assert owners[0] != owners[1]
        seen |= {word for word in first + second if word}
    assert np.mean(labels) == pytest.approx(0.5, abs=0.06)
    # Every sentence is read, but those that are alone in their document.
    alone = {d for d, sizes in enumerate(SIZES * 6) if len(sizes) == 1}
    assert {word[:2] for word in seen} == {
        (d, s)
        for d, sizes in enumerate(SIZES * 6)
        for s in range(len(sizes))
        if d not in alone
    }


def test_any_other_document_is_swapped_in_and_any_place_is_cut(folder):
    made = prepared(folder)
    dataset, others, cuts = made.train(0, 4), set(), {}
    for index in range(60 * made.examples(4)):
        row = dataset[index]
        first, second = read(made, row)
        document = first[-2][0]
        if row["swapped"] and document == 0:
            others.add(second[0][0])
        cuts.setdefault((document, first[0]), set()).add(first[-2][1])
    assert len(others) > 18 and 0 not in others
    assert {len(each) for each in cuts.values()} >= {1, 2}


def test_rows_are_a_function_of_the_seed_and_their_number(folder):
    made, again = prepared(folder), prepared(folder)
    late = rows(made.train(0, 4), 30, 4)
    whole = rows(again.train(0, 124), 0, 124)
    other = rows(made.train(1, 4), 30, 4)
    for name, array in late.items():
        np.testing.assert_array_equal(array, whole[name][120:])
    assert (late["inputs"] != other["inputs"]).any()
    count, dataset = made.examples(1), made.train(0, 1)
    first, second = (
        {tuple(dataset[e * count + i]["inputs"].tolist()) for i in range(count)}
        for e in (0, 1)
    )
    assert len(first & second) < count / 3
    windows = made.evaluation("validation", 4)
    for k in range(len(windows)):
        for name, array in windows[k].items():
            np.testing.assert_array_equal(array, windows[k][name])


def test_as_many_tokens_are_hidden_as_the_rate_says(folder):
    made = prepared(folder, rate=0.3)
    windows = made.evaluation("validation", 1)
    assert len(windows) == made.examples(1)
    for row in map(windows.row, range(windows.count)):
        text = (row["segments"] > 0).sum() - 3
        assert row["mask"].sum() == max(1, round(0.3 * text))
        kept = row["mask"] == 0
        np.testing.assert_array_equal(row["inputs"][kept], row["originals"][kept])
        assert row["mask"][row["masked_positions"]].sum() == row["mask"].sum()
        fields = {f.name: (f.sized(15), f.dtype) for f in made.training_fields}
        assert fields == {k: (v.shape, v.dtype.name) for k, v in row.items()}


def test_what_is_left_out_and_cut_is_counted(folder):
    statement = prepared(folder, context=12).statement
    left = "of 24 documents; 6 with less than two sentences are left out"
    assert statement.count(left) == 2 and "pairs are cut to 9 tokens" in statement
    assert "cut to" not in prepared(folder, context=40).statement


TEXTS = {
    "One. Two!  Three? Four": ["One.", " Two!", "  Three?", " Four"],
    "At 3.5 p.m.x it is. So.\n": ["At 3.5 p.m.x it is.", " So.\n"],
    "A line\nand another\n\n\nLast.": ["A line\n", "and another\n\n\n", "Last."],
    "床前明月光。疑是地上霜！Yes？": ["床前明月光。", "疑是地上霜！", "Yes？"],
}


@pytest.mark.parametrize("kind", [Characters(), Bytes(), Subwords(size=320)])
def test_sentences_end_by_one_rule_whatever_the_tokens(kind):
    tokenizer = kind.train(["".join(TEXTS) * 9], end=True)
    for text, wanted in TEXTS.items():
        if isinstance(kind, Bytes) and "。" in text:
            continue  # No byte is such a mark.
        ids = tokenizer.encode(text)
        ends = [] if tokenizer.end_id is None else [tokenizer.end_id]
        ids = np.concatenate([ids, ends, ids, ends]).astype(np.uint16)
        bounds = np.array([0, len(ids) // 2, len(ids)])
        tokens = Tokens(ids, bounds, (0, len(ids)), 0, Coded())
        found = sentences_of(tokens, marks_of(tokenizer), tokenizer.end_id)
        cut = [
            tokenizer.decode(ids[a:b])
            for a, b in zip(found.starts, found.stops, strict=True)
        ]
        assert cut == wanted * 2
        assert found.documents.tolist() == [0] * len(wanted) + [1] * len(wanted)


@quick
@given(
    st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=8), max_size=6),
    st.integers(2, 20),
)
def test_passages_hold_each_sentence_once_and_none_alone(sizes, room):
    flat = np.array([n for each in sizes for n in each], np.int64)
    owners = np.repeat(np.arange(len(sizes)), [*map(len, sizes)])
    found = passages_of(flat, owners, room)
    held = [s for first, last in found for s in range(first, last)]
    wanted = [s for s in range(len(flat)) if len(sizes[owners[s]]) > 1]
    assert held == wanted
    for first, last in found:
        assert last - first >= 2 and len(set(owners[first:last])) == 1
        # Larger than the room where it could not be cut: two or three sentences.
        assert flat[first:last].sum() <= room or last - first <= 3


@quick
@given(st.integers(1, 20), st.integers(1, 20), st.integers(2, 20))
def test_what_is_cut_of_two_texts_is_what_is_far_from_both(first, second, room):
    a, b = np.arange(first), 100 + np.arange(second)
    one, two = fitted([a, b], room)
    assert len(one) + len(two) == min(room, first + second)
    assert one[-1] == first - 1 and two[0] == 100
    assert (np.diff(one) == 1).all() and (np.diff(two) == 1).all()


def test_what_has_no_pairs_is_refused(tmp_path):
    path, cache = tmp_path / "text.txt", tmp_path / "cache"
    corpus = Corpus(str(path), validation=0.2)
    path.write_text("word " * 300)
    with pytest.raises(UserError, match="No document of the split 'train' has two"):
        SentencePairs(corpus, Words(), 16).prepare(cache)
    path.write_text("a word . " * 100)
    with pytest.raises(UserError, match="Use --data.swap order, or cut the text"):
        SentencePairs(corpus, Words(), 16).prepare(cache)
    made = SentencePairs(corpus, Words(), 16, "order").prepare(cache)
    assert made.examples(1) > 5
    for fields, said in (
        ({"context": 4}, "data.context=4: two texts and the 3 tokens"),
        ({"rate": 0.1, "context": 7}, "Use --data.context 13 or more"),
        ({"rate": 1.0}, "data.rate=1.0"),
        ({"mask": 0.9, "random": 0.2}, "1 at most together"),
    ):
        with pytest.raises(UserError, match=said):
            SentencePairs(corpus, **fields)
