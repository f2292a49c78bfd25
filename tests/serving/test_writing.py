"""Pieces join to the whole, for every tokenizer; what may begin a stop is held back."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.serving.writing import Token, Writing
from lm_jax.tokenizers import Bytes, Characters, Subwords, Words
from tests.properties import quick
from tests.tiny import TEXT as TINY

TEXT = "The cat sat.\nA café, 👩‍🚀 and 春眠不觉晓 — naïve  words; the end. " * 6
TOKENIZERS = {
    "bytes": Bytes().train([TEXT], end=True),
    "characters": Characters(unknown=True).train([TEXT], end=True),
    "words": Words().train([TEXT], end=True),
    "bpe": Subwords(size=310).train([TEXT, TINY], end=True),
    "unigram": Subwords(size=310, kind="unigram").train([TEXT, TINY], end=True),
}


def written(tokenizer, prompt, ids, stops=(), ends=()):
    """The pieces of an answer; each is told before the next token comes."""
    writing, pieces = Writing(tokenizer, prompt, ends, stops), []
    for k, i in enumerate(ids):
        piece = writing.add(Token(int(i)), "length" if k == len(ids) - 1 else None)
        if piece is not None:
            pieces.append(piece)
            if piece.reason is not None:
                break
    return pieces


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
def test_pieces_join_to_the_text_after_the_prompt(tokenizer):
    """Cut anywhere, in the middle of a character of four bytes too."""
    ids = tokenizer.encode(TEXT)
    text = tokenizer.decode(ids)
    for cut in random.Random(0).sample(range(1, len(ids) - 1), 12):
        pieces = written(tokenizer, ids[:cut], ids[cut:])
        joined = "".join(piece.text for piece in pieces)
        before = tokenizer.decode(ids[:cut]).rstrip("\ufffd")
        assert text.startswith(before)
        assert text.endswith(joined.lstrip("\ufffd"))
        assert len(before) + len(joined) >= len(text)
        assert [p.reason for p in pieces] == [None] * (len(pieces) - 1) + ["length"]
        assert sum(len(piece.tokens) for piece in pieces) == len(ids) - cut


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
def test_no_piece_has_half_a_character(tokenizer):
    ids = tokenizer.encode("👩‍🚀春眠不觉晓 café")
    pieces = written(tokenizer, ids[:0], ids)
    assert "".join(p.text for p in pieces) == tokenizer.decode(ids)
    assert not any("\ufffd" in piece.text for piece in pieces)


def test_bytes_that_are_no_text_are_told_all_the_same():
    tokenizer = TOKENIZERS["bytes"]
    ids = np.array([0x61, 0xE6, 0x98, 0x62, *[0xFF] * 6, 0x63, 0xF0], np.int32)
    joined = "".join(piece.text for piece in written(tokenizer, ids[:1], ids[1:]))
    assert joined == tokenizer.decode(ids)[1:]


@quick
@given(st.text("ab", max_size=12), st.lists(st.text("ab", min_size=1), max_size=3))
def test_a_stop_ends_the_text_before_it_and_nothing_of_it_was_told(text, stops):
    tokenizer = Characters().train(["ab"])
    ids = tokenizer.encode(text + "a")
    pieces = written(tokenizer, ids[:0], ids, stops)
    whole, found = text + "a", []
    for length in range(1, len(whole) + 1):  # the first to be complete ends it
        found = [whole[:length].find(stop) for stop in stops if stop in whole[:length]]
        if found:
            break
    wanted = whole[: min(found)] if found else whole
    assert "".join(piece.text for piece in pieces) == wanted
    assert pieces[-1].reason == ("stop" if found else "length")
    tokens = [token for piece in pieces for token in piece.tokens]
    if wanted:
        assert [t.offset for t in tokens] == list(range(len(wanted)))


def test_what_cannot_become_a_stop_is_told_at_once():
    tokenizer = Characters().train(["abc"])
    writing = Writing(tokenizer, np.zeros(0, np.int32), (), ("abc",))
    told = [writing.add(Token(int(i))) for i in tokenizer.encode("abab")]
    assert [piece and piece.text for piece in told] == [None, None, "ab", None]
    assert writing.cut().text == "ab"


def test_an_end_is_no_text():
    tokenizer = TOKENIZERS["bpe"]
    end = tokenizer.end_id
    ids = [*tokenizer.encode("the cat").tolist(), end, *tokenizer.encode("sat")]
    pieces = written(tokenizer, np.array([end]), ids, ends=(end,))
    assert "".join(piece.text for piece in pieces) == "the cat"
    assert pieces[-1].reason == "stop"
