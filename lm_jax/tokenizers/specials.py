"""Tokens that no text spells, after the ids of a trained tokenizer."""

import re
from dataclasses import dataclass
from itertools import groupby
from operator import index

import numpy as np
from jaxtyping import Int32

from lm_jax.tokenizers.pretrained import PieceTokenizer
from lm_jax.tokenizers.trained import Around, Ids, Trained


@dataclass(frozen=True)
class WithSpecials:
    """A trained tokenizer, and more ids after its own.

    Tokens on disk are those of the inner tokenizer, which is what is saved; the
    names come from the value that hides tokens, each time data is prepared.
    """

    tokenizer: Trained
    names: tuple[str, ...]
    """How the further ids are printed, such as "<mask>"."""

    @property
    def vocab_size(self) -> int:
        """Number of ids, those with names among them."""
        return self.tokenizer.vocab_size + len(self.names)

    @property
    def end_id(self) -> int | None:
        """Id of the end of a document, None where documents are not marked."""
        return self.tokenizer.end_id

    @property
    def unknown_id(self) -> int | None:
        """Id of everything unknown, None where nothing is."""
        return self.tokenizer.unknown_id

    @property
    def sentence_end_id(self) -> int | None:
        """Id of the end of a sentence, None where sentences are not marked."""
        return self.tokenizer.sentence_end_id

    @property
    def around(self) -> Around | None:
        """What stands around texts that are read whole, None where it is not said."""
        return self.tokenizer.around

    @property
    def joiner(self) -> str:
        """What stands between tokens, and around the names."""
        return self.tokenizer.joiner

    @property
    def forgets(self) -> str:
        """Say what tokens don't tell of a text; "" where they tell all."""
        return self.tokenizer.forgets

    def id_of(self, name: str) -> int:
        """Give the id of a name."""
        return self.tokenizer.vocab_size + self.names.index(name)

    def encode(self, text: str) -> Int32[np.ndarray, " tokens"]:
        """Give the ids of a text; one that spells a name is text all the same.

        Raises:
            UserError: as the inner tokenizer.
        """
        return self.tokenizer.encode(text)

    def canonical(self, text: str) -> str:
        """Give the text that the inner tokenizer's tokens code."""
        return self.tokenizer.canonical(text)

    def unspelled(self, text: str) -> list[str]:
        """Give what becomes the inner tokenizer's <unk>."""
        return self.tokenizer.unspelled(text)

    def decode(self, ids: Ids) -> str:
        """Give the text of ids, with the names where they stand."""
        own = self.tokenizer.vocab_size
        parts: list[str] = []
        for special, run in groupby(map(index, ids), lambda i: i >= own):
            if special:
                parts += [self.names[i - own] for i in run]
            else:
                parts.append(self.tokenizer.decode(list(run)))
        return self.joiner.join(parts)

    def symbols(self, ids: Ids) -> list[str]:
        """Give each id as it is to be printed."""
        own = self.tokenizer.vocab_size
        whole = list(map(index, ids))
        texts = iter(self.tokenizer.symbols([i for i in whole if i < own]))
        return [next(texts) if i < own else self.names[i - own] for i in whole]

    def spellings(self) -> list[bytes]:
        """Give what the inner tokenizer's ids spell; names are no text."""
        return self.tokenizer.spellings() + [b""] * len(self.names)


def spelled(tokenizer: Trained, text: str) -> Int32[np.ndarray, " tokens"]:
    """Give the ids of a text in which a name, such as "<span_0>", is its token.

    Raises:
        UserError: as the tokenizer.
    """
    if not isinstance(tokenizer, WithSpecials):
        return tokenizer.encode(text)
    names = "|".join(re.escape(name) for name in tokenizer.names)
    parts = [part for part in re.split(f"({names})", text) if part]
    ids = [
        np.array([tokenizer.id_of(part)], np.int32)
        if part in tokenizer.names
        else tokenizer.encode(part)
        for part in parts
    ]
    return np.concatenate([np.zeros(0, np.int32), *ids])


def with_mask(tokenizer: Trained, name: str) -> tuple[Trained, int]:
    """Give a tokenizer that has a token to hide others by, and its id.

    Args:
        tokenizer: trained; one that came with a checkpoint may have such a token.
        name: of the token, where it is made anew.
    """
    own = tokenizer.id_of("mask") if isinstance(tokenizer, PieceTokenizer) else None
    if own is not None:
        return tokenizer, own
    made = WithSpecials(tokenizer, (name,))
    return made, made.id_of(name)
