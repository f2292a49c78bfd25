"""Tokenizers: the values that say how to cut text, and what training makes of them.

A value such as `Words(size=10_000)` is part of an experiment. Its `train` reads
the training split and gives a trained tokenizer: a frozen value that a run
keeps as JSON. Ids are int32 arrays of shape (tokens,).
"""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from operator import index
from pathlib import Path
from typing import Protocol, SupportsIndex, runtime_checkable

import numpy as np
from jaxtyping import Int32

from lm_jax.errors import UserError
from lm_jax.files import write_json

UNKNOWN = "<unk>"
# Ends a document; no text spells it, and it is decoded to nothing.
END_OF_DOCUMENT = "<|end|>"
# Ids come as a list or as an array.
Ids = Iterable[SupportsIndex]
# One more than the highest Unicode code point.
_CODES = 0x110000


@runtime_checkable
class Trained(Protocol):
    """What every trained tokenizer offers."""

    @property
    def vocab_size(self) -> int:
        """Number of ids."""

    @property
    def end_id(self) -> int | None:
        """Id of the end of a document, None where documents are not marked."""

    @property
    def unknown_id(self) -> int | None:
        """Id of everything unknown, None where nothing is."""

    def encode(self, text: str) -> Int32[np.ndarray, " tokens"]:
        """Give the ids of a text.

        Raises:
            UserError: the vocabulary lacks something and has no unknown token.
        """

    def unspelled(self, text: str) -> int:
        """Count the UTF-8 bytes of a text that become <unk>: no token spells them."""

    def decode(self, ids: Ids) -> str:
        """Give the text of ids."""

    def symbols(self, ids: Ids) -> list[str]:
        """Give each id as it is to be printed."""


@runtime_checkable
class Tokenizer(Protocol):
    """What every tokenizer value offers."""

    def train(self, texts: Iterable[str], end: bool = False) -> Trained:
        """Learn from the training texts; `end` adds an end-of-document token."""


def visible(text: str) -> str:
    """Spell out what cannot be seen in print, such as a line end."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


@dataclass(frozen=True)
class Characters:
    """One token per Unicode character that the training split contains."""

    unknown: bool = False
    """Add <unk> for characters that the training split lacks."""

    def train(self, texts: Iterable[str], end: bool = False) -> "CharacterTokenizer":
        """Collect the characters, sorted by code point."""
        seen = np.zeros(_CODES, bool)
        for text in texts:
            seen[_codes(text)] = True
        found = "".join(map(chr, np.flatnonzero(seen)))
        return CharacterTokenizer(found, self.unknown, end)


@dataclass(frozen=True)
class CharacterTokenizer:
    """Characters, then <unk> and the end of a document where there are such."""

    characters: str
    unknown: bool
    end: bool

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return len(self.characters) + self.unknown + self.end

    @property
    def unknown_id(self) -> int | None:
        """Id of every character that is not in the vocabulary."""
        return len(self.characters) if self.unknown else None

    @property
    def end_id(self) -> int | None:
        """Id of the end of a document."""
        return self.vocab_size - 1 if self.end else None

    @cached_property
    def _id_of_code(self) -> Int32[np.ndarray, "1114112"]:
        table = np.full(_CODES, -1 if not self.unknown else self.unknown_id, np.int32)
        table[_codes(self.characters)] = np.arange(len(self.characters))
        return table

    def encode(self, text: str) -> Int32[np.ndarray, " tokens"]:
        """Give the ids of a text, one per character.

        Raises:
            UserError: characters that are not in the vocabulary, without unknown.
        """
        # No code is out of the table; to clip is the fastest way not to ask.
        ids = self._id_of_code.take(_codes(text), mode="clip")
        if not self.unknown and len(ids) and ids.min() < 0:
            missing = sorted(set(text) - set(self.characters))
            named = ", ".join(repr(character) for character in missing[:10])
            more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
            raise UserError(
                f"The vocabulary of {len(self.characters)} characters lacks "
                f"{named}{more}. Leave them out, or train with "
                "Characters(unknown=True)."
            )
        return ids

    def unspelled(self, text: str) -> int:
        """Count the UTF-8 bytes of the characters that become <unk>."""
        known = self._id_of_code.take(_codes(text), mode="clip") != self.unknown_id
        return len(text.encode()) - len("".join(compress(text, known)).encode())

    def decode(self, ids: Ids) -> str:
        """Join the characters; <unk> is printed, the end of a document is not."""
        texts = [*self.characters] + [UNKNOWN] * self.unknown + [""] * self.end
        return "".join(texts[i] for i in ids)

    def symbols(self, ids: Ids) -> list[str]:
        """Give each character as it is to be printed."""
        texts = [visible(character) for character in self.characters]
        texts += [UNKNOWN] * self.unknown + [END_OF_DOCUMENT] * self.end
        return [texts[i] for i in ids]


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


@dataclass(frozen=True)
class Bytes:
    """One token per byte of the text in UTF-8: 256 ids and nothing unknown."""

    def train(self, texts: Iterable[str], end: bool = False) -> "ByteTokenizer":
        """There is nothing to learn: `texts` is not read."""
        return ByteTokenizer(end)


@dataclass(frozen=True)
class ByteTokenizer:
    """The 256 bytes, then the end of a document where it is marked."""

    end: bool
    unknown_id = None

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return 256 + self.end

    @property
    def end_id(self) -> int | None:
        """Id of the end of a document."""
        return 256 if self.end else None

    def encode(self, text: str) -> Int32[np.ndarray, " tokens"]:
        """Give the bytes of the text."""
        return np.frombuffer(utf8(text), np.uint8).astype(np.int32)

    def unspelled(self, text: str) -> int:
        """Give 0: nothing becomes <unk>."""
        return 0

    def decode(self, ids: Ids) -> str:
        """Read the bytes as UTF-8; what is none shows as U+FFFD."""
        return bytes(i for i in map(index, ids) if i < 256).decode("utf-8", "replace")

    def symbols(self, ids: Ids) -> list[str]:
        """Give each byte as it is to be printed: ASCII itself, others \\xNN."""
        texts = [repr(bytes([i]))[2:-1] for i in range(256)]
        texts[ord("'")], texts[ord("\\")] = "'", "\\"
        return [(texts + [END_OF_DOCUMENT])[i] for i in ids]


def utf8(text: str) -> bytes:
    """Give the bytes of a text.

    Raises:
        UserError: it has half a character, as a broken command line may.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"The text has {text[error.start]!r} at character {error.start}, "
            "which is no Unicode character."
        ) from error


def describe(tokenizer: Trained) -> str:
    """Say in a sentence what the vocabulary is."""
    kind = type(tokenizer).__name__.removesuffix("Tokenizer").lower()
    parts = [f"Tokens are {kind}s: a vocabulary of {tokenizer.vocab_size:,}"]
    if tokenizer.unknown_id is not None:
        parts.append(f"{UNKNOWN} stands for all others")
    if tokenizer.end_id is not None:
        parts.append("a token of its own ends each document")
    return ", ".join(parts) + "."


def save_tokenizer(tokenizer: Trained, path: Path) -> None:
    """Write a trained tokenizer as one JSON file."""
    fields = dataclasses.asdict(tokenizer)  # type: ignore[call-overload]
    write_json(path, {"kind": type(tokenizer).__name__, **fields})


def load_tokenizer(path: Path) -> Trained:
    """Read what `save_tokenizer` wrote.

    Raises:
        UserError: the file is missing or is no such tokenizer.
    """
    from lm_jax.data.subwords import SubwordTokenizer
    from lm_jax.data.words import WordTokenizer

    kinds: Sequence[type] = (
        CharacterTokenizer,
        ByteTokenizer,
        WordTokenizer,
        SubwordTokenizer,
    )
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        kind = {kind.__name__: kind for kind in kinds}[fields.pop("kind")]
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        return kind(**values)
    except FileNotFoundError as error:
        raise UserError(f"There is no tokenizer at {path}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged: it holds no tokenizer.") from error
