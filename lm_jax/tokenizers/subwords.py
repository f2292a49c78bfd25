"""Subwords by SentencePiece, set so that every text comes back as it was.

Kudo and Richardson, 2018, "SentencePiece" (arXiv 1808.06226); byte-pair
encoding: Sennrich et al., 2016 (arXiv 1508.07909); unigram: Kudo, 2018
(arXiv 1804.10959).
"""

import base64
import io
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from operator import index
from typing import Any, Literal

import numpy as np
from jaxtyping import Int32

from lm_jax.errors import UserError
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
_SAFE_CUT = re.compile(r"(?<! )(?= )")


@dataclass(frozen=True)
class Subwords:
    """Frequent strings of characters as tokens; bytes for all that is rare."""

    size: int = 8000
    """Number of tokens, the 256 bytes among them."""
    kind: Literal["bpe", "unigram"] = "bpe"
    """How pieces are found: merged from characters, or pruned from strings."""
    sample_bytes: int = 10_000_000
    """Most bytes of the training split to learn from, an even sample of lines."""
    lowercase: bool = False
    """Whether capitals are read as small letters."""

    def __post_init__(self) -> None:
        """Refuse a vocabulary without room beside the bytes."""
        if self.size < _LEAST:
            raise UserError(
                f"Subwords(size={self.size}): 256 tokens are bytes and some are "
                f"characters. Use size={_LEAST} or more (8000 is usual), or Bytes()."
            )

    def train(self, texts: Iterable[str], end: bool = False) -> "SubwordTokenizer":
        """Train SentencePiece on a sample that is always the same for a text.

        Raises:
            UserError: the text has too few strings for the size, or too many
                distinct characters.
        """
        import sentencepiece

        cased = (text.lower() if self.lowercase else text for text in texts)
        lines = sample(_sentences(cased), self.sample_bytes)
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


def _sentences(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for line in text.split("\n"):
            for start in range(0, len(line), _SENTENCE_CHARACTERS):
                yield line[start : start + _SENTENCE_CHARACTERS]


def sample(texts: Iterable[str], budget: int) -> list[str]:
    """Keep an even sample of texts, in their order, of at most `budget` bytes.

    Each text draws a number once; those below a threshold are kept, and the
    threshold falls whenever they grow over the budget. So it takes one reading,
    memory for the budget only, and gives the same sample every time.
    """
    draw = random.Random(0).random
    kept: list[tuple[float, int, str]] = []
    threshold, total = 1.0, 0
    for text in texts:
        number = draw()
        if number >= threshold:
            continue
        size = len(text.encode())
        kept.append((number, size, text))
        total += size
        while total > budget:
            threshold *= 0.9
            kept = [entry for entry in kept if entry[0] < threshold]
            total = sum(size for _, size, _ in kept)
    return [text for _, _, text in kept]


@dataclass(frozen=True)
class SubwordTokenizer:
    """A SentencePiece model, kept as base64."""

    model: str
    end: bool
    lowercase: bool = False
    # Bytes stand for whatever has no piece.
    unknown_id = None
    sentence_end_id = None
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
        utf8(text)  # It says what is wrong with text that is no Unicode.
        parts: list[list[int]] = []
        for k, clean in enumerate(self.canonical(text).split(_SPACE_SIGN)):
            if k:
                parts.append(self._bytes_of(_SPACE_SIGN))
            lines = list(_short_lines(clean))
            parts.extend(self._pieces.encode(lines, num_threads=1))
        return np.fromiter(chain.from_iterable(parts), np.int32)

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
