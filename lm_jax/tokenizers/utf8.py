"""Bytes: one token per byte of UTF-8."""

from collections.abc import Iterable
from dataclasses import dataclass
from operator import index

import numpy as np
from jaxtyping import Int32

from lm_jax.errors import UserError
from lm_jax.tokenizers.trained import END_OF_DOCUMENT, Ids


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
    sentence_end_id = None
    around = None
    joiner = ""
    forgets = ""

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

    def canonical(self, text: str) -> str:
        """Give the text itself."""
        return text

    def unspelled(self, text: str) -> list[str]:
        """Give nothing: nothing becomes <unk>."""
        return []

    def decode(self, ids: Ids) -> str:
        """Read the bytes as UTF-8; what is none shows as U+FFFD."""
        return bytes(i for i in map(index, ids) if i < 256).decode("utf-8", "replace")

    def symbols(self, ids: Ids) -> list[str]:
        """Give each byte as it is to be printed: ASCII itself, others \\xNN."""
        texts = [repr(bytes([i]))[2:-1] for i in range(256)]
        texts[ord("'")], texts[ord("\\")] = "'", "\\"
        return [(texts + [END_OF_DOCUMENT])[i] for i in ids]

    def spellings(self) -> list[bytes]:
        """Give each byte; the end of a document spells nothing."""
        return [bytes([i]) for i in range(256)] + [b""] * self.end


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
