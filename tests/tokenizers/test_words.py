"""Words count as the field counts."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.errors import UserError
from lm_jax.tokenizers import Words
from tests.properties import quick


def test_words_are_ordered_by_frequency_then_alphabet():
    tokenizer = Words().train(["b a a\nc b\n"])
    assert tokenizer.words == ("<eos>", "a", "b", "c", "<unk>")
    assert tokenizer.symbols(tokenizer.encode("a d\n")) == ["a", "<unk>", "<eos>"]
    assert tokenizer.decode(tokenizer.encode("a b\nc\n\na")) == "a b\nc\n\na"


def test_words_keep_the_unknown_that_the_corpus_spells():
    tokenizer = Words().train(["a <unk> <unk>"])
    assert tokenizer.words == ("<unk>", "a")
    assert tokenizer.unknown_id == 0


@quick
@given(st.lists(st.sampled_from(["a", "b", "c", "d", "<unk>", "e"])), st.integers(2, 8))
def test_words_are_capped(words, size):
    tokenizer = Words(size=size).train([" ".join(words)])
    assert tokenizer.vocab_size <= size
    assert tokenizer.words.count("<unk>") == 1
    counts = Counter(word for word in words if word != "<unk>")
    kept = [counts[word] for word in tokenizer.words if word != "<unk>"]
    left = [n for word, n in counts.items() if word not in tokenizer.words]
    assert min(kept, default=0) >= max(left, default=0) or not kept


def test_what_no_word_spells_is_counted():
    words = Words(size=2).train(["a a b"])
    assert words.unspelled("a b\n<unk> 春\n") == ["b", "\n", "春", "\n"]
    assert Words().train(["a\nb"]).unspelled("a\nb") == []


def test_words_in_lower_case():
    tokenizer = Words(lowercase=True).train(["The the"])
    assert tokenizer.words == ("the", "<unk>")
    assert tokenizer.encode("THE").tolist() == [0]


def test_a_cap_below_two_is_refused():
    with pytest.raises(UserError, match="size=1"):
        Words(size=1)
