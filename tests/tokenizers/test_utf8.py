"""Bytes come back, whatever the text."""

from hypothesis import given

from lm_jax.tokenizers import Bytes
from tests.properties import quick
from tests.tokenizers import anything


@quick
@given(anything)
def test_bytes_come_back(text):
    tokenizer = Bytes().train([])
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode(text)) == len(text.encode())
    assert tokenizer.vocab_size == 256
