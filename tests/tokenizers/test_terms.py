"""Terms are words as Lucene's EnglishAnalyzer has them."""

import pytest
from hypothesis import given

from lm_jax.errors import UserError
from lm_jax.tokenizers import Terms, load_tokenizer, save_tokenizer
from tests.properties import quick
from tests.tokenizers import anything

pytest.importorskip("nltk")
TEXT = "The flow's speed, 3.5 or 1,000 m/s, is relational: flows and flowing in U.S.A."


def test_words_are_stemmed_and_the_most_frequent_left_out():
    terms = Terms().train([TEXT], end=True).terms(TEXT)
    flow = ["flow", "speed", "3.5", "1,000", "m", "s", "relat", "flow", "flow"]
    assert terms == [*flow, "u.s.a"]
    kept = Terms(stem=False, stopwords=True).train([TEXT])
    assert kept.terms("The flows' flowing") == ["the", "flows", "flowing"]


def test_unknown_terms_are_spelled_and_the_vocabulary_is_saved(tmp_path):
    trained = Terms(size=5).train([TEXT, "flow speed"], end=True)
    assert trained.words[:2] == ("flow", "speed") and trained.vocab_size == 5
    assert trained.end_id == 4 and trained.unknown_id == 3
    ids = trained.encode("flows unheard of")
    assert ids.tolist() == [0, 3] and trained.decode([*ids, 4]) == "flow <unk>"
    assert trained.unspelled("flows unheard of") == ["unheard"]
    save_tokenizer(trained, tmp_path / "t.json")
    assert load_tokenizer(tmp_path / "t.json") == trained
    with pytest.raises(UserError, match="Terms\\(size=2\\)"):
        Terms(size=2)


@quick
@given(anything)
def test_ids_tell_the_canonical_text(text):
    trained = Terms(stem=False).train([text, "a word"])
    assert trained.decode(trained.encode(text)) == trained.canonical(text)
