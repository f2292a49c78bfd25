"""The counts that every paper gives for its corpora come out."""

import os

import pytest

from lm_jax.data import Characters, Corpus, TokenStream, Words

pytestmark = pytest.mark.skipif(
    "LM_JAX_DATA" not in os.environ,
    reason="these corpora may not be shipped; set LM_JAX_DATA to a folder of them",
)


@pytest.mark.parametrize(
    ("source", "tokenizer", "counts", "vocabulary"),
    [
        ("ptb", Words(), (929_589, 73_760, 82_430), 10_000),
        ("ptb", Characters(), (5_017_482, 393_042, 442_423), 50),
        ("wikitext-2", Words(), (2_088_628, 217_646, 245_569), 33_278),
    ],
)
def test_counts(tmp_path, source, tokenizer, counts, vocabulary):
    made = TokenStream(Corpus(source), tokenizer, 64).prepare(tmp_path)
    names = ("train", "validation", "test")
    assert tuple(len(made.splits[name].ids) for name in names) == counts
    assert made.vocab_size == vocabulary


@pytest.mark.parametrize("source", ["text8", "gutenberg", "tinystories", "classics"])
def test_the_others_can_be_read(tmp_path, source):
    made = TokenStream(Corpus(source), Characters(unknown=True), 64).prepare(tmp_path)
    assert len(made.evaluation("validation", 8)) > 10


def test_complete_tang_poems(tmp_path):
    made = TokenStream(Corpus("quantangshi"), Characters(True), 64).prepare(tmp_path)
    assert sum(len(split.documents) - 1 for split in made.splits.values()) == 57_607
