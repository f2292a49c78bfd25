"""Characters come back, and what the vocabulary lacks is named."""

import pytest
from hypothesis import given

from lm_jax.errors import UserError
from lm_jax.tokenizers import Characters
from tests.properties import quick
from tests.tokenizers import CHINESE, ENGLISH, texts

CHARACTERS = Characters().train([ENGLISH, CHINESE])


@quick
@given(texts)
def test_characters_come_back(text):
    ids = CHARACTERS.encode(text)
    assert len(ids) == len(text)
    assert CHARACTERS.decode(ids) == text


def test_characters_are_sorted_and_distinct():
    tokenizer = Characters().train(["月b", "ab"])
    assert tokenizer.encode("ab月").tolist() == [0, 1, 2]
    assert tokenizer.vocab_size == 3


def test_a_missing_character_is_named():
    with pytest.raises(UserError, match=r"'é', '霜'.*--data.tokenizer.unknown"):
        Characters().train(["abc"]).encode("aé霜b")


def test_unknown_takes_missing_characters():
    tokenizer = Characters(unknown=True).train(["abc"], end=True)
    ids = tokenizer.encode("a霜")
    assert ids.tolist() == [0, tokenizer.unknown_id]
    assert tokenizer.end_id == 4 == tokenizer.vocab_size - 1
    assert tokenizer.symbols([0, 3, 4]) == ["a", "<unk>", "<|end|>"]
    assert tokenizer.decode([0, 4]) == "a"
