"""What data publishes is what its examples are, in training and in evaluation."""

from typing import get_args

import numpy as np
import pytest

from lm_jax.data import (
    CarriedStream,
    Cooccurrences,
    Data,
    HuffmanTree,
    MaskedStream,
    Mixture,
    Noise,
    PackedDocuments,
    SpanCorruption,
    TokenStream,
    WordContexts,
    giving,
)
from lm_jax.text import Corpus
from lm_jax.tokenizers import Characters, Words
from tests.tiny import TEXT

CASES = {
    "stream": lambda c, t: TokenStream(c, t, 16),
    "carried": lambda c, t: CarriedStream(c, t, 16),
    "jitter": lambda c, t: CarriedStream(c, t, 16, jitter=3),
    "packed": lambda c, t: PackedDocuments(c, t, 16),
    "mixture": lambda c, t: Mixture((TokenStream(c, t, 16),)),
    "masked": lambda c, t: MaskedStream(c, t, 16),
    "spans": lambda c, t: SpanCorruption(c, t, 32),
    "noise": lambda c, t: WordContexts(c, Words(), targets=Noise(group=8), words=64),
    "tree": lambda c, t: WordContexts(c, Words(), targets=HuffmanTree(), words=64),
    "pairs": lambda c, t: Cooccurrences(c, Words(), pairs=32),
}


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_examples_have_the_fields_that_are_published(make, tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    data = make(Corpus(str(tmp_path / "text.txt")), Characters())
    made = data.prepare(tmp_path / "cache")
    windows = made.evaluation("validation", made.lanes or 2)
    last = windows[len(windows) - 1]
    rows = {
        "training": (made.training_fields, made.train(0, 2)[0]),
        "evaluation": (made.evaluation_fields, {k: v[0] for k, v in last.items()}),
    }
    for fields, row in rows.values():
        assert {field.name for field in fields} == set(row)
        for field in fields:
            array = np.asarray(row[field.name])
            shape = field.sized(len(row["inputs"]) if made.buckets else made.context)
            assert array.shape == shape, field
            assert array.dtype == field.dtype, field
            assert field.meaning and field.name in data.gives


def test_what_gives_a_field_is_known_of_every_kind():
    for kind in get_args(Data):
        assert all(kind.__name__ in giving(name) for name in kind.gives)
    assert giving("masked_positions") == ["MaskedStream", "SentencePairs"]
    assert giving("no such field") == []
