"""A text ends at the first stop string, and nothing shown is taken back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.errors import UserError
from lm_jax.generation.stopping import (
    certain,
    check_stops,
    first_stop,
    tokens_to_stop,
)

TEXTS = st.text("abc\n", max_size=12)
STOPS = st.lists(st.text("abc\n", min_size=1, max_size=3), max_size=3)


def test_the_first_of_several_ends_a_text():
    assert first_stop("one two three", ["three", "two"]) == 4
    assert first_stop("one", ["two"]) is None
    assert first_stop("one", []) is None


@given(text=TEXTS, more=TEXTS, stops=STOPS)
def test_what_is_certain_stays_whatever_follows(text, more, stops):
    """And all but what could begin a stop string is certain."""
    shown = certain(text[: first_stop(text, stops)], stops)
    whole = text + more
    assert whole[: first_stop(whole, stops)].startswith(shown)
    held = text[len(shown) :]
    assert not held or any(s.startswith(held) or s in text for s in stops)


def test_part_of_a_character_is_not_shown():
    whole = "春😀".encode()
    for count in range(len(whole) + 1):
        shown = certain(whole[:count].decode(errors="replace"), ())
        assert shown == ("" if count < 3 else "春" if count < 7 else "春😀")


@given(text=TEXTS, stops=STOPS)
def test_a_stop_needs_the_fewest_tokens_that_spell_it(text, stops):
    place = first_stop(text, stops)
    if place is not None:
        count = tokens_to_stop(lambda n: text[:n], len(text), stops)
        assert first_stop(text[:count], stops) is not None
        assert first_stop(text[: count - 1], stops) is None


def test_an_empty_stop_is_refused():
    with pytest.raises(UserError, match="empty"):
        check_stops(["a", ""])
