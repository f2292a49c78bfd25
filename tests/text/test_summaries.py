"""Documents with several summaries each: read as they are given out, or refused."""

import gzip
import json

import pytest

from lm_jax.data import Answers, TextPairs
from lm_jax.errors import UserError
from lm_jax.text import Corpus
from lm_jax.tokenizers import Words

ROWS = [
    {"source": ["A cat .\n", "", "It  sleeps ."], "target": ["a cat sleeps", "cat"]},
    {"source": ["A dog ."], "target": [" a dog "]},
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """SciTLDR's files, compressed."""
    root = tmp_path / "data" / "scitldr"
    root.mkdir(parents=True)
    for number, split in enumerate(("train", "dev", "test")):
        write(root / f"{split}.jsonl.gz", ROWS[:2] if number else ROWS[1:] * 3)
    monkeypatch.setenv("LM_JAX_DATA", str(tmp_path / "data"))
    return root


def write(path, rows):
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(lines.encode()))


DOCUMENT = "A cat .\nIt sleeps ."
SCITLDR = Corpus("scitldr")


@pytest.mark.parametrize(
    "data",
    [
        TextPairs(SCITLDR, Words(), lengths=(16,)),
        Answers(SCITLDR, Words(), "", lengths=(16,)),
    ],
)
def test_a_document_stands_beside_each_of_its_summaries(folder, tmp_path, data):
    made = data.prepare(tmp_path / "cache")
    assert (
        list(made.pairs("validation"))
        == list(made.pairs("test"))
        == [
            (DOCUMENT, "a cat sleeps"),
            (DOCUMENT, "cat"),
            ("A dog .", "a dog"),
        ]
    )
    assert len(list(made.pairs("train"))) == 3
    assert made.evaluation("test", 4)[0]["mask"].any(1).sum() == 3


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"source": ["a"]}, "line 3 has no list of texts as 'target'"),
        ({"source": ["a"], "target": []}, "line 3 has no list of texts as 'target'"),
        ({"source": "a", "target": ["b"]}, "line 3 has no list of texts as 'source'"),
        ({"source": ["a"], "target": ["b", 1]}, "line 3 has no list of texts as 'targ"),
        ({"source": ["a"], "target": ["b", " "]}, "line 3 has an empty text as 'targ"),
        ({"source": ["", "\n"], "target": ["b"]}, "line 3 has an empty text as 'sour"),
    ],
)
def test_a_row_without_its_other_half_is_named(folder, tmp_path, row, said):
    write(folder / "dev.jsonl.gz", [*ROWS, row, row])
    with pytest.raises(UserError, match=rf"dev\.jsonl\.gz, {said}"):
        TextPairs(SCITLDR, Words()).prepare(tmp_path / "cache")


def test_a_corpus_without_pairs_gives_no_answers(tmp_path):
    with pytest.raises(UserError, match="names has no pairs.*--data.answer"):
        Answers(Corpus("names"), answer="").prepare(tmp_path / "cache")
