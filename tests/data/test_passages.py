"""Pairs of queries and passages: what is in a row, what it is told from."""

from dataclasses import replace

import numpy as np
import pytest

from lm_jax.data import Passages
from lm_jax.errors import UserError
from lm_jax.text import Collection, read_collection
from lm_jax.text.rankings import write_rankings
from lm_jax.tokenizers import Words
from tests.retrieval import DOCUMENTS, QUERIES, write_collection


@pytest.fixture
def data(tmp_path):
    write_collection(tmp_path / "c")
    return Passages(Collection(str(tmp_path / "c")), Words(), 8, (8, 16))


@pytest.fixture
def mined(data, tmp_path):
    """The answer, two that aren't, and of one query nothing."""
    scores = {q: {d: 3.0, "d20": 2.0, "d21": 1.0} for (q, _), (d, *_) in PAIRS}
    scores.pop("qd3")
    write_rankings(tmp_path / "run.trec", scores)
    return replace(data, negatives=str(tmp_path / "run.trec"), hard=2)


PAIRS = list(zip(QUERIES, DOCUMENTS, strict=True))


def rows_of(made, split):
    windows = made.evaluation(split, 3)
    return [windows.row(index) for index in range(windows.count)]


def spelled(made, ids, segments):
    symbols = made.tokenizer.symbols(ids[segments > 0])
    return " ".join(symbols)


def read(made, row):
    """The query, and each passage, ends as <|end|>."""
    query = spelled(made, row["query_inputs"], row["query_segments"])
    both = zip(row["passage_inputs"], row["passage_segments"], strict=True)
    return query, *(spelled(made, *passage) for passage in both)


def text(document):
    return f"{document[1]} {document[2]} <|end|>"


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_row_is_a_query_and_what_answers_it(split, data, tmp_path):
    made = data.prepare(tmp_path / "cache")
    wanted = {"train": (0, 16), "validation": (16, 20), "test": (20, 24)}[split]
    pairs = [(f"{q[1]} <|end|>", text(d)) for q, d in PAIRS[slice(*wanted)]]
    if split == "train":
        pairs.append((pairs[0][0], pairs[1][1]))
    rows = rows_of(made, split)
    assert sorted(read(made, row) for row in rows) == sorted(pairs)
    assert all(row["mask"] == 1 for row in rows)
    queries = [int(row["query"]) for row in rows]
    assert len(set(queries)) == len(pairs) - (split == "train")


def test_fields_are_those_of_batches(data, tmp_path):
    made = data.prepare(tmp_path / "cache")
    order = made.order(0, 5, ways=4)
    for step in range(4):
        batch, shape = order.batch(step), order.shape(step)
        assert shape.rows == 8 and set(batch) == set(Passages.gives)
        for field in made.fields:
            assert batch[field.name].shape == (8, *field.sized(shape.length))
            assert batch[field.name].dtype == field.dtype
        again = data.prepare(tmp_path / "other").order(0, 5, ways=4).batch(step)
        for name, array in batch.items():
            np.testing.assert_array_equal(array, again[name])


def test_long_texts_keep_their_end(data, tmp_path):
    short = replace(data, query_length=3, lengths=(4,))
    made = short.prepare(tmp_path / "cache")
    query, passage = read(made, rows_of(made, "validation")[0])
    assert query == "which red <|end|>" and passage == "red stone the <|end|>"
    passages = made.searchable.passages
    assert len(passages) == 24 and min(map(len, passages)) == 10  # these are whole


def test_titles_are_queries_for_the_rest(data, tmp_path):
    made = replace(data, titles=True).prepare(tmp_path / "cache")
    found = {read(made, row) for row in rows_of(made, "train")}
    assert {(f"{d[1]} <|end|>", f"{d[2]} <|end|>") for d in DOCUMENTS} <= found
    assert len(rows_of(made, "train")) == 17 + 24
    assert len(rows_of(made, "validation")) == 4
    plain = replace(data.corpus, titles=False)
    made = replace(data, titles=True, corpus=plain).prepare(tmp_path / "cache")
    assert {read(made, row) for row in rows_of(made, "train")} >= {
        (f"{d[1]} <|end|>", f"{d[2]} <|end|>") for d in DOCUMENTS
    }


def test_hard_negatives_stand_first_in_a_ranking_and_answer_nothing(mined, tmp_path):
    made = mined.prepare(tmp_path / "cache")
    judged = read_collection(mined.corpus)
    for row in rows_of(made, "train"):
        query, answer, *wrong = read(made, row)
        place = [text for _, text in QUERIES].index(query.removesuffix(" <|end|>"))
        if place == 3:
            assert wrong == ["", ""] and row["passage"].tolist()[1:] == [-1, -1]
        else:
            assert wrong == [text(DOCUMENTS[20]), text(DOCUMENTS[21])]
            assert row["passage"].tolist()[1:] == [20, 21]
        assert DOCUMENTS[row["passage"][0]][0] in judged.grades[QUERIES[place][0]]
        assert answer == text(DOCUMENTS[row["passage"][0]])
    assert "16 pairs of training have 2 hard negatives" in made.statement


def test_the_pairs_have_part_in_the_digest(mined, data, tmp_path):
    digests = {
        each.prepare(tmp_path / "cache").digest
        for each in (mined, data, replace(data, titles=True))
    }
    assert len(digests) == 3


def test_what_gives_no_pairs_is_refused(data, mined, tmp_path):
    cache = tmp_path / "cache"
    with pytest.raises(UserError, match="data.negatives='' and data.hard=2"):
        replace(data, hard=2)
    write_rankings(tmp_path / "run.trec", {"qd1": {"elsewhere": 1.0}})
    with pytest.raises(UserError, match="ranks a document 'elsewhere'"):
        mined.prepare(cache)
    write_rankings(tmp_path / "run.trec", {"qd23": {"d1": 1.0}})
    with pytest.raises(UserError, match="ranks no query of training"):
        mined.prepare(cache)
    (tmp_path / "c" / "qrels" / "train.tsv").unlink()
    with pytest.raises(UserError, match="no query to train on. Use data.titles"):
        data.prepare(cache).order(0, 4)
