"""Test collections are read whole, and what is odd in them is counted or refused."""

import gzip
import json

import pytest

from lm_jax.errors import UserError
from lm_jax.text import Collection, read_collection
from lm_jax.text.collection import read_documents
from lm_jax.text.rankings import read_rankings, write_rankings
from tests.retrieval import DOCUMENTS, write_collection

CRANFIELD = """.I 1
.T
flow past
a wing .
.A
somebody
.B
j. 1958
.W
flow past
a wing .
  the text of it .
.I 2
.T
shear
.W
another text .
"""
ASKED = ".I 001\n.W\nwhat is a wing .\n.I 004\n.W\nwhat is\nshear .\n"


@pytest.fixture
def folder(tmp_path):
    return write_collection(tmp_path / "beir")


@pytest.fixture
def cranfield(tmp_path):
    for name, text in {
        "cran.all.1400": CRANFIELD,
        "cran.qry": ASKED,
        "cranqrel": "1 1 2 \r\n1 2 -1\n2 2 1 \n",
    }.items():
        (tmp_path / name).write_bytes(text.encode())
    return tmp_path


def read(folder, **fields):
    return read_collection(Collection(str(folder), **fields))


def test_a_collection_is_what_its_files_say(folder):
    judged = read(folder)
    assert {s: len(q) for s, q in judged.queries.items()} == {
        "train": 16,
        "validation": 4,
        "test": 4,
    }
    assert judged.grades["qd0"] == {"d0": 1, "d1": 2}
    assert judged.texts[5] == f"{DOCUMENTS[5][1]} {DOCUMENTS[5][2]}"
    assert read(folder, titles=False).texts[5] == DOCUMENTS[5][2]
    assert judged.place["d7"] == 7
    assert "24 documents, 16 train, 4 validation, 4 test queries" in judged.statement
    assert "left out" not in judged.statement
    assert tuple(read_documents(str(folder))) == judged.documents
    assert tuple(read_documents(f"{folder}/corpus.jsonl")) == judged.documents


def test_compressed_files_and_names_of_one_folder_are_read_too(folder):
    before = read(folder)
    for name in ("corpus", "queries"):
        path = folder / f"{name}.jsonl"
        given = folder / ("beir_queries" if name == "queries" else name)
        given.with_suffix(".jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    for split in ("train", "dev", "test"):
        path = folder / "qrels" / f"{split}.tsv"
        path.rename(folder / f"beir_qrels_{split}.tsv")
    again = read(folder)
    assert again.digest == before.digest and "beside it" not in again.statement
    (folder / "corpus.jsonl").write_text('{"_id": "d1", "text": "a wing"}\n')
    (folder / "qrels_dev.tsv").touch()
    said = read(folder).statement
    assert "corpus.jsonl is read, and not corpus.jsonl.gz beside it." in said
    assert "beir_qrels_dev.tsv is read, and not qrels_dev.tsv beside it." in said


def test_a_judgement_changes_the_digest(folder):
    before = read(folder).digest
    path = folder / "qrels" / "test.tsv"
    path.write_text(path.read_text().replace("\t1\n", "\t2\n", 1))
    assert read(folder).digest != before


def test_validation_is_drawn_of_training_and_never_of_the_test(folder):
    (folder / "qrels" / "dev.tsv").unlink()
    whole, drawn = (read(folder, validation=share) for share in (0.0, 0.5))
    assert set(whole.queries) == {"train", "test"}
    assert drawn.queries["test"] == whole.queries["test"]
    both = drawn.queries["train"] | drawn.queries["validation"]
    assert both == whole.queries["train"]
    assert min(map(len, drawn.queries.values())) > 1
    assert "4 queries without a judgement are left out" in whole.statement


def test_what_is_not_there_is_left_out_and_counted(folder):
    with (folder / "qrels" / "train.tsv").open("a") as file:
        file.write("qd1\tnowhere\t1\nnobody\td1\t1\n")
    judged = read(folder)
    assert judged.grades["qd1"] == {"d1": 1} and "nobody" not in judged.grades
    assert "1 judgements of documents that aren't there" in judged.statement
    assert "1 judged queries that aren't there" in judged.statement


def test_texts_that_are_the_same_are_one(folder):
    with (folder / "corpus.jsonl").open("a") as file:
        file.write(json.dumps({"_id": "z", "title": "red boat", "text": ""}) + "\n")
        file.write(json.dumps({"_id": "y", "title": "red boat", "text": ""}) + "\n")
    assert read(folder).same == (*range(24), 24, 24)


def test_cranfields_queries_count_and_its_grades_run_backwards(cranfield):
    judged = read(cranfield, validation=0.0, test=1.0)
    assert judged.texts == (
        "flow past a wing . the text of it .",
        "shear another text .",
    )
    assert judged.documents[0].text == "the text of it ."
    assert judged.queries == {"test": {"1": "what is a wing .", "2": "what is shear ."}}
    assert judged.grades == {"1": {"1": 3, "2": 0}, "2": {"2": 4}}


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("qrels/test.tsv", "a\tb\tc\nqd1\td1\n", "2 fields"),
        ("qrels/test.tsv", "a\tb\tc\nqd1\td1\t0.5\n", "line 2: 'qd1  d1  0.5' is no"),
        ("qrels/test.tsv", "a\tb\tc\nqd1\td1\t1\n", "'qd1' is judged in 'train' too"),
        (
            "qrels/dev.tsv",
            "a\tb\tc\nqd21\td1\t1\nqd21\td1\t2\n",
            "was judged 1 for the query 'qd21' before, and 2 here",
        ),
        ("corpus.jsonl", '{"_id": "a"}\n', "line 1 has no 'text'"),
        ("corpus.jsonl", '{"_id": "a", "text": 3}\n', "a number for 'text'"),
        ("corpus.jsonl", '{"_id": "a", "text": "b"}\n' * 2, "several documents of one"),
        (
            "queries.jsonl",
            '{"_id": "q", "text": "b"}\n' * 2,
            "several queries of",
        ),
        ("queries.jsonl", '{"_id": "q", "text": " "}\n', "line 1 has an empty query"),
        (
            "corpus.jsonl",
            '{"_id": "a", "text": "b"}\n',
            "none of 24 queries has a judg",
        ),
    ],
)
def test_what_can_not_be_read_is_refused(file, text, said, folder):
    (folder / file).write_text(text)
    with pytest.raises(UserError, match=said):
        read(folder)


def test_judgements_without_names_of_columns_are_all_read(folder):
    path = folder / "qrels" / "test.tsv"
    before = read(folder)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    assert read(folder).digest == before.digest


def test_judgements_that_are_no_utf8_are_refused(folder):
    path = folder / "qrels" / "test.tsv"
    path.write_bytes(path.read_bytes() + b"caf\xe9\td1\t1\n")
    with pytest.raises(UserError, match="test.tsv is not UTF-8, after line"):
        read(folder)


def test_a_query_set_without_judgements_is_refused(folder):
    for path in (folder / "qrels").iterdir():
        path.unlink()
    with pytest.raises(UserError, match="has queries and no judgements"):
        read(folder)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("scifat", "Did you mean 'scifact'"),
        ("scifact", r"\$LM_JAX_DATA is not set"),
        (".", "it lacks corpus.jsonl"),
    ],
)
def test_a_collection_that_is_not_there_is_refused(source, said, tmp_path, monkeypatch):
    monkeypatch.delenv("LM_JAX_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said):
        read(source)


def test_a_folder_named_like_a_known_collection_is_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LM_JAX_DATA", raising=False)
    write_collection(tmp_path / "scifact")
    with pytest.raises(UserError, match=r"another text: its path is \./scifact"):
        read("scifact")
    assert "another text" not in read("./scifact").statement
    monkeypatch.setenv("LM_JAX_DATA", str(tmp_path))
    assert "another text" not in read("scifact").statement
    write_collection(tmp_path / "data/scifact")
    monkeypatch.setenv("LM_JAX_DATA", "data")
    assert "another text: its path is ./scifact" in read("scifact").statement


def test_rankings_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "run.trec"
    write_rankings(path, {"q": {"b": 2.0, "a": 1.0}, "r": {"a": 1.0}})
    assert read_rankings(str(path)) == {"q": ("b", "a"), "r": ("a",)}
    path.write_text("q Q0 a first 1.0 x\n")
    with pytest.raises(UserError, match="line 1: .* is no query, Q0"):
        read_rankings(str(path))
