"""Specials: ids after those of a tokenizer, which stays as it is."""

from hypothesis import given, settings
from hypothesis import strategies as st

from lm_jax.tokenizers import Bytes, Characters, Subwords, Trained, WithSpecials, Words
from lm_jax.tokenizers.trained import boundary_ids
from tests.tiny import TEXT

INNER = [
    kind.train([f"{TEXT}\n"])
    for kind in (Characters(), Bytes(), Words(), Subwords(size=300))
]
NAMES = ("<mask>", "<span_0>")


@settings(max_examples=20)
@given(st.sampled_from(INNER), st.integers(0, len(TEXT)))
def test_text_is_what_it_is_without_specials(inner, cut):
    special = WithSpecials(inner, NAMES)
    ids = special.encode(TEXT[:cut])
    assert ids.tolist() == inner.encode(TEXT[:cut]).tolist()
    assert special.decode(ids) == inner.decode(ids)
    assert special.symbols(ids) == inner.symbols(ids)


def test_names_follow_the_ids_of_the_tokenizer():
    for inner in INNER:
        special = WithSpecials(inner, NAMES)
        assert isinstance(special, Trained)
        assert special.vocab_size == inner.vocab_size + 2
        assert special.id_of("<mask>") == inner.vocab_size
        assert special.id_of("<span_0>") == inner.vocab_size + 1
        assert (special.end_id, special.unknown_id) == (inner.end_id, inner.unknown_id)
        assert boundary_ids(special) == boundary_ids(inner)


def test_names_are_printed_where_they_stand():
    for inner in INNER:
        special = WithSpecials(inner, NAMES)
        mask, span = map(special.id_of, NAMES)
        before, after = special.encode("the cat"), special.encode("my bird")
        ids = [mask, *before, span, *after, mask]
        space = " " if inner is INNER[2] else ""
        assert special.decode(ids) == space.join(
            ["<mask>", "the cat", "<span_0>", "my bird", "<mask>"]
        )
        symbols = special.symbols(ids)
        assert len(symbols) == len(ids)
        assert symbols[0] == symbols[-1] == "<mask>"
        assert symbols[len(before) + 1] == "<span_0>"
        assert symbols[1 : len(before) + 1] == inner.symbols(before)


def test_a_text_that_spells_a_name_is_text():
    special = WithSpecials(Bytes().train([]), NAMES)
    assert special.encode("<mask>").max() < special.id_of("<mask>")
    assert special.decode(special.encode("<mask>")) == "<mask>"
