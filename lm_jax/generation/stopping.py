"""Where a text ends: at the first of some strings."""

from bisect import bisect_left
from collections.abc import Callable, Sequence

from lm_jax.errors import UserError


def check_stops(stops: Sequence[str]) -> None:
    """Refuse a string that every text begins with.

    Raises:
        UserError: one is empty.
    """
    if not all(stops):
        raise UserError("A stop string is empty: every text would end before it began.")


def first_stop(text: str, stops: Sequence[str]) -> int | None:
    """Give where the first of some strings begins in a text; None where none does."""
    found = [place for place in map(text.find, stops) if place >= 0]
    return min(found, default=None)


def tokens_to_stop(
    text_of: Callable[[int], str], tokens: int, stops: Sequence[str]
) -> int:
    """Give how many tokens the first stop string needs to be whole.

    Args:
        text_of: the text of the first so many tokens.
        tokens: whose text has one.
        stops: strings.
    """
    return bisect_left(
        range(tokens), True, key=lambda n: first_stop(text_of(n), stops) is not None
    )


def certain(text: str, stops: Sequence[str]) -> str:
    """Give the part of a text that further tokens can't take back.

    Withheld is what may be the beginning of a stop string, and the bytes of a
    character that isn't whole.

    Args:
        text: so far.
        stops: strings that none of it may belong to.
    """
    text = text.rstrip("\N{REPLACEMENT CHARACTER}")
    longest = max(map(len, stops), default=1)
    for start in range(max(0, len(text) - longest + 1), len(text)):
        if any(stop.startswith(text[start:]) for stop in stops):
            return text[:start]
    return text
