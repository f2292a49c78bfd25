"""Subwords by SentencePiece, set so that every text comes back as it was.

Kudo and Richardson, 2018, "SentencePiece" (arXiv 1808.06226); byte-pair
encoding: Sennrich et al., 2016 (arXiv 1508.07909); unigram: Kudo, 2018
(arXiv 1804.10959).
"""

import base64
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from operator import index
from typing import Any, Literal

import numpy as np
from jaxtyping import Int32

from lm_jax.errors import UserError
from lm_jax.tokenizers.distinct import distinct, gathered, groups
from lm_jax.tokenizers.sampling import sample
from lm_jax.tokenizers.trained import END_OF_DOCUMENT, Ids, visible
from lm_jax.tokenizers.utf8 import utf8

# SentencePiece writes a space so inside; where a text holds the sign itself, it
# is encoded by its bytes, else it would come back as a space.
_SPACE_SIGN = "▁"
# SentencePiece skips sentences over 4192 bytes: lines are cut below that.
_SENTENCE_CHARACTERS = 1000
# No piece goes on over a space that follows something else, so a cut there
# changes no id; lines of this length take linear, not quadratic, time.
_LINE_CHARACTERS = 2000
# The 256 bytes, and room for some characters.
_LEAST = 300
_LEAST_SAMPLE = 10_000  # bytes: more than a line that is cut can have
_SAFE_CUT = re.compile(r"(?<! )(?= )")
# Words that are remembered, and the characters of the longest: about 40 MB.
_REMEMBERED, _LONG = 1 << 17, 64


@dataclass(frozen=True)
class Subwords:
    """Frequent strings of characters as tokens; bytes for all that is rare."""

    size: int = 8000
    """Number of tokens, the 256 bytes among them."""
    kind: Literal["bpe", "unigram"] = "bpe"
    """How pieces are found: merged from characters, or pruned from strings."""
    sample_bytes: int = 10_000_000
    """Most bytes of the training split to learn from, an even sample of lines; 10,000
    or more."""
    lowercase: bool = False
    """Whether capitals are read as small letters."""

    def __post_init__(self) -> None:
        """Refuse a vocabulary without room beside the bytes."""
        if self.size < _LEAST:
            raise UserError(
                f"Subwords(size={self.size}): 256 tokens are bytes and some are "
                f"characters. Use size={_LEAST} or more (8000 is usual), or Bytes()."
            )
        if self.sample_bytes < _LEAST_SAMPLE:
            raise UserError(
                f"Subwords(sample_bytes={self.sample_bytes}): that may be less than a "
                f"line. Use {_LEAST_SAMPLE:,} or more."
            )

    def train(self, texts: Iterable[str], end: bool = False) -> "SubwordTokenizer":
        """Train SentencePiece on a sample that is always the same for a text.

        Raises:
            UserError: the text has too few strings for the size, or too many
                distinct characters.
        """
        import sentencepiece

        cased = (text.lower() if self.lowercase else text for text in texts)
        lines = sample(map(_sentences, groups(cased)), self.sample_bytes)
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(lines),
                model_writer=model,
                vocab_size=self.size,
                model_type=self.kind,
                normalization_rule_name="identity",
                add_dummy_prefix=False,
                remove_extra_whitespaces=False,
                byte_fallback=True,
                user_defined_symbols=["\n"],
                character_coverage=0.9995,
                bos_id=-1,
                pad_id=-1,
                unk_id=0,
                eos_id=1 if end else -1,
                eos_piece=END_OF_DOCUMENT,
                num_threads=2,  # A constant: it orders sums, so it shows in pieces.
                minloglevel=2,
            )
        except (RuntimeError, OSError) as error:
            raise self._refusal(str(error)) from error
        found = base64.b64encode(model.getvalue()).decode()
        return SubwordTokenizer(found, end, self.lowercase)

    def _refusal(self, reason: str) -> UserError:
        most = re.search(r"value <= (\d+)", reason)
        if most and int(most[1]) < _LEAST:
            return UserError(
                f"Subwords(size={self.size}): the training text has {most[1]} "
                f"different pieces, fewer than the least size, {_LEAST}: there is "
                "nothing for subwords to learn. Use Bytes() or Characters() "
                "(--data.tokenizer Bytes), or a longer text."
            )
        if most:
            return UserError(
                f"Subwords(size={self.size}): the training text has fewer different "
                f"pieces than that. Use size={most[1]} or less."
            )
        least = re.search(r"required_chars\D*\d+ vs (\d+)", reason)
        if least:
            return UserError(
                f"Subwords(size={self.size}): too small for the characters of the "
                f"training text. Use size={least[1]} or more, or Bytes()."
            )
        if "sentences_.empty()" in reason:
            return UserError(
                "Subwords: the training split has no text to learn from. Give the "
                "corpus more, or hold out less of it."
            )
        return UserError(f"Subwords cannot be trained on this text: {reason}")


def _sentences(texts: list[str]) -> list[str]:
    """Give the lines of texts; long ones are cut, empty ones left out."""
    lines = [line for text in texts for line in text.split("\n") if line]
    if max(map(len, lines), default=0) <= _SENTENCE_CHARACTERS:
        return lines
    return [
        line[start : start + _SENTENCE_CHARACTERS]
        for line in lines
        for start in range(0, len(line), _SENTENCE_CHARACTERS)
    ]


class _Remembered(dict[str, bytes]):
    """The ids of words as int32, each with the sign before it.

    That is a line end or a sign of its own; before all others there is a space,
    which isn't written.
    """

    def __init__(self, encode: Callable[[str], Int32[np.ndarray, " _"]]):
        self._encode = encode

    def __missing__(self, word: str) -> bytes:
        own = word[:1] in ("\n", _SPACE_SIGN) and word
        found = self._encode(word if own else f" {word}").tobytes()
        if len(word) <= _LONG:
            if len(self) >= _REMEMBERED:
                self.clear()
            self[word] = found
        return found


@dataclass(frozen=True)
class SubwordTokenizer:
    """A SentencePiece model, kept as base64."""

    model: str
    end: bool
    lowercase: bool = False
    # Bytes stand for whatever has no piece.
    unknown_id = None
    sentence_end_id = None
    around = None
    joiner = ""

    @property
    def forgets(self) -> str:
        """Say what tokens don't tell of a text."""
        return "capitals" * self.lowercase

    @cached_property
    def _pieces(self) -> Any:
        import sentencepiece

        model = base64.b64decode(self.model, validate=True)
        return sentencepiece.SentencePieceProcessor(model_proto=model)

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return self._pieces.vocab_size()

    @property
    def end_id(self) -> int | None:
        """Id of the end of a document."""
        return 1 if self.end else None

    def encode(self, text: str) -> Int32[np.ndarray, " tokens"]:
        """Give the ids of a text; `decode` gives its canonical text back."""
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str]) -> list[Int32[np.ndarray, " _"]]:
        """Give the ids of each text."""
        for text in texts:
            utf8(text)  # It says what is wrong with text that is no Unicode.
        cased = map(self.canonical, texts)
        if not self._cut_at_spaces:
            return list(map(self._by_lines, cased))
        # As if after a line end, so that each word has a sign before it.
        found = distinct([_signed(f"\n{text}") for text in cased], " ")
        ids = gathered([self._remembered[word] for word in found.words], found)
        return [own[1:] for own in ids]

    def _by_lines(self, text: str) -> Int32[np.ndarray, " tokens"]:
        parts: list[list[int]] = []
        for k, clean in enumerate(text.split(_SPACE_SIGN)):
            if k:
                parts.append(self._bytes_of(_SPACE_SIGN))
            lines = list(_short_lines(clean))
            parts.extend(self._pieces.encode(lines, num_threads=1))
        return np.fromiter(chain.from_iterable(parts), np.int32)

    @cached_property
    def _remembered(self) -> _Remembered:
        return _Remembered(self._by_lines)

    @cached_property
    def merged(self) -> bool:
        """Whether pieces are merged by rank; else they have logarithms of chances."""
        ranks = self.scores().values()
        return all(score == int(score) for score in ranks)

    @cached_property
    def _cut_at_spaces(self) -> bool:
        """Whether ids are the same when each word is encoded alone.

        Not those of chances: their sums over a line are rounded, and may be ties.
        """
        apart = not any(_SPACE_SIGN in piece[1:] for piece in self.pieces())
        return self.merged and apart and len(self._by_lines("\n")) == 1

    def canonical(self, text: str) -> str:
        """Give the text itself, or its small letters."""
        return text.lower() if self.lowercase else text

    def unspelled(self, text: str) -> list[str]:
        """Give nothing: nothing becomes <unk>."""
        return []

    def _bytes_of(self, text: str) -> list[int]:
        return [self._pieces.piece_to_id(f"<0x{b:02X}>") for b in text.encode()]

    def decode(self, ids: Ids) -> str:
        """Join the pieces; the end of a document is decoded to nothing."""
        return self._pieces.decode(list(map(index, ids)))

    def pieces(self) -> list[str]:
        """Give each piece as SentencePiece writes it: a space is a sign."""
        return [self._pieces.id_to_piece(i) for i in range(self.vocab_size)]

    def scores(self) -> dict[int, float]:
        """Give the score of each id that spells characters: no byte, and no end."""
        own = self._pieces
        silent = (own.is_byte, own.is_control, own.is_unknown)
        spelled = (i for i in range(self.vocab_size) if not any(f(i) for f in silent))
        return {i: own.get_score(i) for i in spelled}

    def symbols(self, ids: Ids) -> list[str]:
        """Give each piece as it is to be printed, bytes as <0xNN>."""
        pieces = (self._pieces.id_to_piece(index(i)) for i in ids)
        return [visible(piece.replace(_SPACE_SIGN, " ")) for piece in pieces]

    def spellings(self) -> list[bytes]:
        """Give each piece; a token that is a byte gives that byte."""
        own, spelled = self._pieces, []
        for i, piece in enumerate(self.pieces()):
            if own.is_byte(i):
                spelled.append(bytes([int(piece[1:-1], 16)]))
            elif own.is_control(i) or own.is_unknown(i):
                spelled.append(b"")
            else:
                spelled.append(piece.replace(_SPACE_SIGN, " ").encode())
        return spelled


def _signed(text: str) -> str:
    """Put a space before each line end and sign, so that all words have one alike."""
    return text.replace("\n", " \n").replace(_SPACE_SIGN, f" {_SPACE_SIGN}")[1:]


def _short_lines(text: str) -> Iterator[str]:
    *whole, last = text.split("\n")
    for line in chain((f"{line}\n" for line in whole), [last] if last else []):
        start = 0
        while len(line) - start > _LINE_CHARACTERS:
            cut = _SAFE_CUT.search(line, start + _LINE_CHARACTERS)
            if cut is None:
                break
            yield line[start : cut.start()]
            start = cut.start()
        yield line[start:]
