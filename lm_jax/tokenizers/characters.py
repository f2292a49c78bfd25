"""Characters: one token per Unicode code point."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import compress

import numpy as np
from jaxtyping import Int32

from lm_jax.errors import UserError
from lm_jax.tokenizers.trained import END_OF_DOCUMENT, UNKNOWN, Ids, visible

# One more than the highest Unicode code point.
_CODES = 0x110000


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
    sentence_end_id = None
    around = None
    joiner = ""
    forgets = ""

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
                "--data.tokenizer.unknown (Characters(unknown=True) in Python)."
            )
        return ids

    def canonical(self, text: str) -> str:
        """Give the text itself."""
        return text

    def unspelled(self, text: str) -> list[str]:
        """Give the characters that become <unk>."""
        ids = self._id_of_code.take(_codes(text), mode="clip")
        return list(compress(text, ids == self.unknown_id))

    def decode(self, ids: Ids) -> str:
        """Join the characters; <unk> is printed, the end of a document is not."""
        texts = [*self.characters] + [UNKNOWN] * self.unknown + [""] * self.end
        return "".join(texts[i] for i in ids)

    def symbols(self, ids: Ids) -> list[str]:
        """Give each character as it is to be printed."""
        texts = [visible(character) for character in self.characters]
        texts += [UNKNOWN] * self.unknown + [END_OF_DOCUMENT] * self.end
        return [texts[i] for i in ids]

    def spellings(self) -> list[bytes]:
        """Give each character; <unk> and the end of a document spell nothing."""
        spelled = [c.encode("utf-8", "surrogatepass") for c in self.characters]
        return spelled + [b""] * (self.unknown + self.end)


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
