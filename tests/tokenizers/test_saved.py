"""Trained tokenizers are kept as JSON and come back the same."""

import numpy as np
import pytest

from lm_jax.errors import UserError
from lm_jax.tokenizers import (
    Bytes,
    Characters,
    Subwords,
    Words,
    load_tokenizer,
    save_tokenizer,
)
from tests.tokenizers import CHINESE, ENGLISH


@pytest.mark.parametrize("end", [False, True])
@pytest.mark.parametrize(
    "value", [Characters(), Characters(True), Bytes(), Words(), Subwords(330)]
)
def test_tokenizers_are_kept_as_json(tmp_path, value, end):
    trained = value.train([ENGLISH * 9, CHINESE * 9], end=end)
    save_tokenizer(trained, tmp_path / "tokenizer.json")
    again = load_tokenizer(tmp_path / "tokenizer.json")
    assert again == trained
    text = ENGLISH + CHINESE
    np.testing.assert_array_equal(again.encode(text), trained.encode(text))
    assert (again.end_id is not None) == end
    assert len(again.symbols(range(again.vocab_size))) == again.vocab_size


def test_a_tokenizer_that_cannot_be_read(tmp_path):
    path = tmp_path / "tokenizer.json"
    with pytest.raises(UserError, match="no tokenizer at"):
        load_tokenizer(path)
    path.write_text('{"kind": "Bytes')
    with pytest.raises(UserError, match="damaged"):
        load_tokenizer(path)
