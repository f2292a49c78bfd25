"""Documents that stand in two splits are counted, and said."""

import json

import pytest

from lm_jax.data import Mixture, PackedDocuments, TokenStream
from lm_jax.text import Corpus
from lm_jax.tokenizers import Bytes


def write(folder, **splits):
    folder.mkdir()
    for split, texts in splits.items():
        rows = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        (folder / f"{split}.jsonl").write_text(rows)
    return Corpus(str(folder))


@pytest.fixture
def corpus(tmp_path):
    train = [f"document {i}" for i in range(50)]
    held = ["document 3", "document 7", "document 7", "another", "document 3 "]
    return write(tmp_path / "in", train=train, valid=held, test=["another", "own"])


def test_copies_across_splits_are_counted(corpus, tmp_path):
    for _ in range(2):  # made, and found in the cache
        made = PackedDocuments(corpus, Bytes(), 8).prepare(tmp_path / "cache")
        assert made.statement.split("\n")[-2:] == [
            "3 of the 5 documents of validation (60.0%) stand in train too, word for "
            "word.",
            "1 of the 2 documents of test (50.0%) stand in validation too, word for "
            "word.",
        ]


def test_a_whole_text_that_is_in_two_splits(tmp_path):
    for name in ("train.txt", "test.txt"):
        (tmp_path / name).write_text("one and the same text, a long one\n" * 9)
    corpus = Corpus(str(tmp_path), validation=0.0)
    made = TokenStream(corpus, Bytes(), 8).prepare(tmp_path / ".cache")
    assert "1 of the 1 documents of test (100.0%) stand in train too" in made.statement


def test_the_corpora_of_a_mixture_share_documents(corpus, tmp_path):
    other = write(tmp_path / "b", train=["own"] * 20, valid=["document 9"] * 4)
    parts = tuple(TokenStream(each, Bytes(), 4) for each in (corpus, other))
    made = Mixture(parts, (1.0, 1.0)).prepare(tmp_path / "cache")
    assert "7 of the 9 documents of validation (77.8%) stand in train" in made.statement
    assert "1 of the 2 documents of test (50.0%) stand in train" in made.statement


@pytest.mark.parametrize("source", ["names", "tinyshakespeare", "tangshi300"])
def test_a_corpus_that_is_split_here_shares_none(tmp_path, source):
    """A document is drawn by its digest: its copies are drawn with it."""
    made = TokenStream(Corpus(source), Bytes(), 8).prepare(tmp_path)
    assert "word for word" not in made.statement
