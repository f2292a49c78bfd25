"""Ids: tokens that another program made, of which the numbers are all we have."""

from collections.abc import Iterable
from dataclasses import dataclass
from operator import index

import numpy as np
from jaxtyping import Int32

from lm_jax.errors import UserError
from lm_jax.tokenizers.trained import Ids as Given


@dataclass(frozen=True)
class Ids:
    """Ids that were made before, as arrays; as text, numbers between spaces.

    What it says of itself unless told otherwise is GPT-2's vocabulary, as nanoGPT
    and Megatron write it.
    """

    size: int = 50257
    """Vocabulary of the tokenizer that made them."""
    end: int | None = 50256
    """The id that ends a document; None where none does."""

    def __post_init__(self) -> None:
        """Refuse an end that is no id."""
        if self.size < 1 or not 0 <= (self.end or 0) < self.size:
            raise UserError(
                f"Ids(size={self.size}, end={self.end}): ids are 0 to size - 1, and "
                "the one that ends a document is among them. Give None where none "
                "does (--data.tokenizer.end None)."
            )

    def train(self, texts: Iterable[str], end: bool = False) -> "IdTokenizer":
        """There is nothing to learn: `texts` is not read."""
        return IdTokenizer(self.size, self.end)


@dataclass(frozen=True)
class IdTokenizer:
    """Numbers as text: "5 17 9" is the ids 5, 17 and 9, and back."""

    size: int
    end: int | None
    unknown_id = None
    sentence_end_id = None
    around = None
    joiner = " "
    forgets = ""

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return self.size

    @property
    def end_id(self) -> int | None:
        """Id of the end of a document."""
        return self.end

    def encode(self, text: str) -> Int32[np.ndarray, " tokens"]:
        """Read numbers between spaces.

        Raises:
            UserError: something in the text is no id.
        """
        words = text.split()
        for word in words:
            if not (word.isascii() and word.isdecimal() and int(word) < self.size):
                raise UserError(
                    f"'{word[:40]}' is no id: this tokenizer knows ids alone, 0 to "
                    f"{self.size - 1}, written with spaces between them."
                )
        return np.array(words, np.int32) if words else np.empty(0, np.int32)

    def canonical(self, text: str) -> str:
        """Give the text itself."""
        return text

    def unspelled(self, text: str) -> list[str]:
        """Give nothing: nothing becomes <unk>."""
        return []

    def decode(self, ids: Given) -> str:
        """Write the numbers; the end of a document is one of them."""
        return " ".join(self.symbols(ids))

    def symbols(self, ids: Given) -> list[str]:
        """Give each number."""
        return [str(index(i)) for i in ids]

    def spellings(self) -> list[bytes]:
        """Give each number after a space; the end of a document spells nothing."""
        return [b"" if i == self.end else f" {i}".encode() for i in range(self.size)]
