"""What counts as a word where texts are compared by their words."""

import re
import unicodedata

from lm_jax.data.pieces import ALONE

_ALONE = re.compile(f"[{ALONE}]")


def words_of(text: str) -> list[str]:
    """Give the words of a text in small letters; marks of punctuation are none.

    A word is a run of letters, digits and what combines with them, in any writing,
    after Unicode's compatibility composition (NFKC: é is one character, a wide digit
    an ordinary one). Chinese characters and Japanese ones are words of their own. Of
    ASCII texts these are the words of the package rouge-score.
    """
    plain = unicodedata.normalize("NFKC", text).lower()
    return _ALONE.sub(r" \g<0> ", "".join(map(_or_space, plain))).split()


def _or_space(character: str) -> str:
    """Give a character of a word; a space for any other."""
    in_word = character.isalnum() or unicodedata.category(character)[0] == "M"
    return character if in_word else " "
