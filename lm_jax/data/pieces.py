"""Words and marks of a text with their places, and the tokens of each."""

import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, Int64

from lm_jax.tokenizers import Trained

# Characters of writing without spaces are words of their own, as in BERT's tokenizer.
ALONE = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# Accents and vowels that are characters of their own belong to the word around them.
_MARKS = "".join(
    chr(code)
    for code in (*range(0x300, 0x1F000), *range(0xE0100, 0xE01F0))
    if unicodedata.category(chr(code))[0] == "M"
)
_PIECE = re.compile(rf"[{ALONE}]|(?:[^\W{ALONE}]+|[{_MARKS}]+)+|[^\w\s]")


def pieces_of(text: str) -> list[tuple[int, int]]:
    """Give where each word, mark of punctuation and Chinese character begins and ends.

    Nothing lies between them but white space. They are those of BERT's cased tokenizer,
    but that kana and symbols stand alone here, and "_" doesn't.
    """
    return [found.span() for found in _PIECE.finditer(text)]


def spaced(text: str) -> str:
    """Give a text with one space between its pieces: what a tokenizer is trained on."""
    return " ".join(_PIECE.findall(text))


class Cut(NamedTuple):
    """The tokens of a text, each a part of one of its pieces.

    Attributes:
        ids: of the tokens.
        pieces: of each token, the number of its piece.
        spans: of each piece, where it begins and ends in the text.
        words: of each piece, a number that it shares with those that are it but for
            capitals.
    """

    ids: Int32[np.ndarray, " tokens"]
    pieces: Int64[np.ndarray, " tokens"]
    spans: Int64[np.ndarray, "pieces 2"]
    words: Int64[np.ndarray, " pieces"]

    def tokens(self, start: int, end: int) -> tuple[int, int]:
        """Give the first and last token of the characters from start to end.

        Characters within a piece have all of its tokens. The last comes before the
        first where the characters have no token.
        """
        first = np.searchsorted(self.spans[:, 1], start, "right")
        last = np.searchsorted(self.spans[:, 0], end, "left")
        bounds = np.searchsorted(self.pieces, [first, last])
        return int(bounds[0]), int(bounds[1]) - 1

    def characters(self, first: int, last: int) -> tuple[int, int]:
        """Give where the pieces from one token to another begin and end."""
        ends = self.spans[self.pieces[[first, last]]]
        return int(ends[0, 0]), int(ends[1, 1])


class Cutter:
    """Cuts texts into tokens; a piece has the same ones wherever it stands."""

    def __init__(self, tokenizer: Trained) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, Int32[np.ndarray, " tokens"]] = {}
        self._words: dict[str, int] = {}

    def __call__(self, text: str) -> Cut:
        """Cut a text.

        Raises:
            UserError: the vocabulary lacks something and has no unknown token.
        """
        spans = pieces_of(text)
        found = [text[start:end] for start, end in spans]
        ids = self.encoded(found)
        words = [self._words.setdefault(p.lower(), len(self._words)) for p in found]
        return Cut(
            np.concatenate([np.zeros(0, np.int32), *ids]),
            np.repeat(np.arange(len(ids)), [len(each) for each in ids]),
            np.array(spans, np.int64).reshape(-1, 2),
            np.array(words, np.int64),
        )

    def encoded(self, pieces: Iterable[str]) -> list[Int32[np.ndarray, " tokens"]]:
        """Give the tokens of each piece.

        Raises:
            UserError: as for a text.
        """
        known = self._known
        for piece in pieces:
            if piece not in known:
                known[piece] = self._tokenizer.encode(piece)
        return [known[piece] for piece in pieces]
