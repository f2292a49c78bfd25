"""A text that spells a special token is text: under every tokenizer it comes back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.tokenizers import Bytes, Characters, Subwords, WithSpecials, Words
from tests.properties import quick

NAMES = ["<|end|>", "<eos>", "<mask>", "<span_0>", "<start>", "<s>", "<0x41>", "<pad>"]
KINDS = (Characters(), Bytes(), Words(), Words(lowercase=True), Subwords(size=301))
words = st.sampled_from([*NAMES, *(f"\\{name}" for name in NAMES), "<EOS>", "a", "b"])
lines = st.lists(words, max_size=8).map(" ".join)
texts = st.lists(lines, max_size=4).map("\n".join)
everything = " ".join([*NAMES, *(f"\\{name}" for name in NAMES), "<EOS> a b\n"])
TRAINED = [kind.train([everything * 9], end=True) for kind in KINDS]
# Trained on none of them: a word is unknown then, and never a special token.
PLAIN = [
    kind.train(["a b c d e f g h i j k l m n o p q r s t u v w x y z\n" * 9], end=True)
    for kind in (Characters(unknown=True), *KINDS[1:])
]


@quick
@given(st.sampled_from(TRAINED), texts)
def test_a_text_that_spells_specials_comes_back(tokenizer, text):
    special = WithSpecials(tokenizer, ("<mask>", "<span_0>", "<start>"))
    ids = special.encode(text).tolist()
    assert special.decode(ids) == special.canonical(text)
    assert special.canonical(text) in (text, text.lower())
    assert special.end_id not in ids and special.unknown_id not in ids
    assert all(i < tokenizer.vocab_size for i in ids)
    assert ids.count(special.sentence_end_id) in (0, text.count("\n"))
    assert special.unspelled(text) == []


@quick
@given(st.sampled_from(PLAIN), texts)
def test_what_was_not_trained_on_is_spelled(tokenizer, text):
    ids = tokenizer.encode(text).tolist()
    assert tokenizer.end_id not in ids
    assert ids.count(tokenizer.sentence_end_id) in (0, text.count("\n"))
    assert ids.count(tokenizer.unknown_id) == len(tokenizer.unspelled(text))
    spelled = iter(tokenizer.unspelled(text))
    parts = [
        next(spelled) if i == tokenizer.unknown_id else tokenizer.decode([i])
        for i in ids
    ]
    if tokenizer.joiner or tokenizer.unknown_id is not None:
        joined = tokenizer.joiner.join(parts).replace(" \n", "\n").replace("\n ", "\n")
        assert joined == tokenizer.canonical(text)


@pytest.mark.parametrize("end", [True, False])
def test_a_name_in_the_text_is_a_word_beside_the_token(end):
    tokenizer = Words().train(["x <eos> <|end|> <|end|>\nx \\<eos>\n"], end=end)
    assert tokenizer.sentence_end_id == tokenizer.words.index("<eos>")
    assert {"\\<eos>", "\\\\<eos>", "\\<|end|>"} < set(tokenizer.words)
    assert tokenizer.decode(tokenizer.encode("\\<eos> <eos>\n")) == "\\<eos> <eos>\n"
    assert tokenizer.words.count("<|end|>") == end
