"""The counts that every paper gives for its corpora come out."""

import pytest

from lm_jax.data import TokenStream
from lm_jax.text import Corpus
from lm_jax.tokenizers import Characters, Words
from tests.text import needs

PTB = (929_589, 73_760, 82_430)
PTB_CHARACTERS = (5_017_482, 393_042, 442_423)
WIKITEXT = (2_088_628, 217_646, 245_569)


@pytest.mark.parametrize(
    ("source", "tokenizer", "counts", "vocabulary"),
    [
        pytest.param("ptb", Words(), PTB, 10_000, marks=needs("ptb")),
        pytest.param("ptb", Characters(), PTB_CHARACTERS, 50, marks=needs("ptb")),
        pytest.param(
            "wikitext-2", Words(), WIKITEXT, 33_278, marks=needs("wikitext-2")
        ),
    ],
)
def test_counts(tmp_path, source, tokenizer, counts, vocabulary):
    made = TokenStream(Corpus(source), tokenizer, 64).prepare(tmp_path)
    names = ("train", "validation", "test")
    assert tuple(len(made.splits[name].ids) for name in names) == counts
    assert made.vocab_size == vocabulary


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(name, marks=needs(name))
        for name in ("text8", "gutenberg", "tinystories", "classics")
    ],
)
def test_the_others_can_be_read(tmp_path, source):
    made = TokenStream(Corpus(source), Characters(unknown=True), 64).prepare(tmp_path)
    assert len(made.evaluation("validation", 8)) > 10


@needs("quantangshi")
def test_complete_tang_poems(tmp_path):
    made = TokenStream(Corpus("quantangshi"), Characters(True), 64).prepare(tmp_path)
    assert sum(len(split.documents) - 1 for split in made.splits.values()) == 57_607
