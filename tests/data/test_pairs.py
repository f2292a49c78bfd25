"""Pairs of texts are one row with an end after each; numbers are read as they are."""

import json
import math

import numpy as np
import pytest

from lm_jax.data import Labelled, Rated
from lm_jax.data.examples import joined
from lm_jax.errors import UserError
from lm_jax.text import Corpus
from lm_jax.tokenizers import Kept, Words, save_tokenizer

WORDS = ("red", "green", "blue")


def write_pairs(path, count=60):
    """Pairs of texts whose numbers say which is which, and how far they are apart."""
    with path.open("w") as file:
        for number in range(count):
            first = " ".join([f"n{number}"] + [WORDS[number % 3]] * (number % 4))
            second = " ".join([WORDS[number // 3 % 3]] * (1 + number % 5))
            row = {"one": first, "two": second, "how": number % 4 / 2}
            file.write(json.dumps(row) + "\n")


@pytest.fixture
def pairs(tmp_path):
    write_pairs(tmp_path / "pairs.jsonl")
    return tmp_path / "pairs.jsonl"


def rated(path, lengths=(4, 12), **fields):
    corpus = Corpus(str(path), column="one", test=0.1)
    return Rated(corpus, Words(), "how", lengths, "two", **fields)


def test_a_row_is_both_texts_and_their_number(pairs, tmp_path):
    made = rated(pairs).prepare(tmp_path / "cache")
    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    of = {row["one"].split()[0]: row for row in rows}
    end, seen = made.tokenizer.end_id, 0
    for split in made.splits:
        windows = made.evaluation(split, 4)
        for k in range(len(windows)):
            batch, numbers = windows[k], windows.numbers(k)
            for place in range(len(numbers)):
                ids = batch["inputs"][place][batch["segments"][place] > 0]
                assert (ids == end).sum() == 2 and ids[-1] == end
                cut = int(np.flatnonzero(ids == end)[0])
                texts = batch["segments"][place][: len(ids)]
                np.testing.assert_array_equal(texts == 1, np.arange(len(ids)) <= cut)
                first = made.tokenizer.decode(ids[:cut]).split()
                second = made.tokenizer.decode(ids[cut:]).split()
                if row := of.get(first[0]):  # none where its number is <unk>
                    assert first == row["one"].split()
                    assert second == row["two"].split()
                    assert batch["value"][place] == row["how"]
                seen += 1
    assert seen == len(rows)
    assert "Numbers of the training split: 0 to 1.5." in made.statement


@pytest.mark.parametrize(
    ("sizes", "room", "kept"),
    [
        ((3, 4), 9, (3, 4)),
        ((3, 9), 8, (3, 5)),
        ((9, 3), 8, (5, 3)),
        ((9, 9), 8, (4, 4)),
        ((9, 9), 7, (4, 3)),
    ],
)
def test_the_longer_text_is_cut_first_and_both_keep_their_end(sizes, room, kept):
    parts = [np.append(np.arange(1, n), 100 + n) for n in sizes]
    found = joined(parts, room)
    wanted = [
        np.append(part[: size - 1], part[-1])
        for part, size in zip(parts, kept, strict=True)
    ]
    for own, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(own, other)


@pytest.mark.parametrize("longest", [1, 2])
def test_rows_without_room_for_a_text_are_refused(pairs, tmp_path, longest):
    with pytest.raises(UserError, match="leave no room for it. Give 3 or more"):
        rated(pairs, (longest,)).prepare(tmp_path / "cache")


def test_what_is_cut_is_counted_for_each_split(pairs, tmp_path):
    statement = rated(pairs, (4, 8)).prepare(tmp_path / "cache").statement
    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    longer = sum(len(f"{r['one']} {r['two']}".split()) + 2 > 8 for r in rows)
    assert longer > 0 and f"{longer} pairs are cut to 8 tokens: " in statement


def test_pairs_can_be_told_apart_too(pairs, tmp_path):
    corpus = Corpus(str(pairs), column="one")
    data = Labelled(corpus, Words(), "how", (12,), pair="two")
    made = data.prepare(tmp_path / "cache")
    assert made.labels == ("0.0", "0.5", "1.0", "1.5")


def test_the_benchmarks_rows_are_two_sentences_and_a_number(tmp_path, monkeypatch):
    folder = tmp_path / "data" / "stsb"
    folder.mkdir(parents=True)
    for split in ("train", "dev", "test"):
        rows = [f'"A {k}, or so.",A man {k}.,{k % 5}.5' for k in range(12)]
        (folder / f"stsb-en-{split}.csv").write_text("\n".join(rows) + "\n")
    monkeypatch.setenv("LM_JAX_DATA", str(tmp_path / "data"))
    made = Rated(Corpus("stsb")).prepare(tmp_path / "cache")
    row = made.evaluation("test", 1).row(0)
    words = made.tokenizer.decode(row["inputs"][row["segments"] > 0])
    assert words == "A 0, or so. A man 0." and row["value"] == 0.5
    (folder / "stsb-en-dev.csv").write_text("alone,3\n")
    with pytest.raises(UserError, match="row 1 has 2 fields: two sentences and"):
        Rated(Corpus("stsb")).prepare(tmp_path / "cache")


def test_what_is_no_pair_or_no_number_is_refused(pairs, tmp_path):
    cache = tmp_path / "cache"
    for data, said in (
        (Rated(Corpus(str(pairs), column="two"), value="one"), "has 'n0' for its num"),
        (Rated(Corpus(str(pairs), column="one"), value="one"), "asked for twice"),
        (Rated(Corpus(str(pairs), column="one"), value="hw"), "no column 'hw'.*how"),
        (
            Rated(Corpus(str(pairs), column="one"), value="how", pair="tow"),
            "no column 'tow'. Did you mean 'two'",
        ),
        (Rated(Corpus("names"), pair="two"), "has no pairs"),
    ):
        with pytest.raises(UserError, match=said):
            data.prepare(cache)
    # float32 has no room for the one, and takes both of the others for one.
    for numbers, said in (
        ((1, 1), "has one number for all of its texts"),
        ((1, 1e39), "'1e\\+39' for its number"),
        ((2**24, 2**24 + 1), "has one number for all of its texts"),
        ((1, math.nan), "has no label in the column 'how'"),
    ):
        rows = [{"one": f"a{k}", "two": "b", "how": numbers[k % 2]} for k in range(30)]
        pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
        with pytest.raises(UserError, match=said):
            rated(pairs).prepare(cache)
    save_tokenizer(Words().train(["a b"]), tmp_path / "tokenizer.json")
    write_pairs(pairs)
    corpus = Corpus(str(pairs), column="one")
    data = Rated(corpus, Kept(str(tmp_path)), "how", pair="two")
    with pytest.raises(UserError, match="need a token between them"):
        data.prepare(cache)
