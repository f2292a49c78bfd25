"""Words count as the field counts."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.errors import UserError
from lm_jax.text.splitting import Piece
from lm_jax.tokenizers import Words, distinct
from lm_jax.tokenizers.chunks import _documents, encode_chunk
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


BLANKS = "".join(chr(i) for i in range(0x110000) if chr(i).isspace())
spaced = st.text(st.sampled_from("ab春\\" + BLANKS), max_size=12) | st.sampled_from(
    ["<eos>", "a <|end|>", "\\<eos>\n", "b\\<eos> <eos>b", "<unk>", " ", ""]
)


@quick
@given(st.lists(spaced, min_size=1, max_size=4), st.booleans())
def test_words_are_what_stands_between_white_space(texts, lowercase):
    """As Python's own split has them, by either way to cut texts."""
    for few in (1, 1 << 20):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(distinct, "_FEW", few)
            tokenizer = Words(lowercase=lowercase).train(texts)
            found = tokenizer.encode_all(texts)
        for text, ids in zip(texts, found, strict=True):
            lines = [line.split() for line in text.split("\n")]
            assert tokenizer.canonical(text) == "\n".join(map(" ".join, lines))
            assert tokenizer.decode(ids) == tokenizer.canonical(text)
            assert len(ids) == sum(map(len, lines)) + len(lines) - 1
            assert tokenizer.unspelled(f"{text} c\n") == ["c"] + ["\n"] * (
                tokenizer.sentence_end_id is None
            )


@quick
@given(
    st.lists(st.tuples(spaced, st.booleans()), min_size=1, max_size=6), st.booleans()
)
def test_ids_tell_how_long_the_canonical_text_is(drawn, end):
    """Of pieces of documents, some words of which are unknown, as the text itself."""
    tokenizer = Words(size=4).train(["a a\n\n <unk> b春", "\\<eos>"], end=end)
    pieces = [Piece("train", f"{text} ", last) for text, last in drawn]
    found = encode_chunk(tokenizer, "<u1", pieces)
    texts = [tokenizer.canonical(text) for text in _documents(pieces)]
    assert found.coded.bytes == len("".join(texts).encode())
    assert found.begins == (texts[0][:1] not in ("", "\n"))
    assert found.goes_on == (not drawn[-1][1] and texts[-1][-1:] not in ("", "\n"))
    lost = [word for text in texts for word in tokenizer.unspelled(text)]
    assert found.coded.spelling == 8 * len("\0".join([*lost, ""]).encode())


def test_half_a_character_is_a_word_like_others():
    text = "a \ud800 b " * 2000
    assert Words().train([text]).encode(text)[:3].tolist() == [0, 2, 1]


def test_words_in_lower_case():
    tokenizer = Words(lowercase=True).train(["The the"])
    assert tokenizer.words == ("the", "<unk>")
    assert tokenizer.encode("THE").tolist() == [0]


def test_a_cap_below_two_is_refused():
    with pytest.raises(UserError, match="size=1"):
        Words(size=1)
