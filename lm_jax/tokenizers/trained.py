"""What every trained tokenizer offers, and what all kinds share.

A value such as `Words(size=10_000)` is part of an experiment. Its `train` reads
the training split and gives a trained tokenizer: a frozen value that a run
keeps as JSON. Ids are int32 arrays of shape (tokens,).
"""

from collections.abc import Iterable, Sequence
from operator import index
from typing import NamedTuple, Protocol, SupportsIndex, runtime_checkable

import numpy as np
from jaxtyping import Int32, Integer

from lm_jax.errors import UserError

UNKNOWN = "<unk>"
# Ends a document; no text spells it, and it is decoded to nothing.
END_OF_DOCUMENT = "<|end|>"
# Ids come as a list or as an array.
Ids = Iterable[SupportsIndex]


class Around(NamedTuple):
    """What a checkpoint's tokenizer puts around texts that are read whole.

    Attributes:
        first: ids before a text, or the first of a pair.
        second: ids before the second of a pair.
        end: the id after each text.
    """

    first: tuple[int, ...]
    second: tuple[int, ...]
    end: int

    def before(self, texts: int) -> tuple[tuple[int, ...], ...]:
        """Give what stands before each of so many texts of a row."""
        return (self.first, self.second)[:texts]

    def extra(self, texts: int) -> int:
        """Count the ids around so many texts of a row."""
        return sum(map(len, self.before(texts))) + texts


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

    @property
    def sentence_end_id(self) -> int | None:
        """Id of the end of a sentence, None where sentences are not marked."""

    @property
    def around(self) -> Around | None:
        """What stands around texts that are read whole, None where it is not said."""

    @property
    def joiner(self) -> str:
        """What `decode` puts between tokens: a space where they are words."""

    def encode(self, text: str) -> Int32[np.ndarray, " tokens"]:
        """Give the ids of a text.

        Raises:
            UserError: the vocabulary lacks something and has no unknown token.
        """

    @property
    def forgets(self) -> str:
        """Say what tokens don't tell of a text; "" where they tell all."""

    def canonical(self, text: str) -> str:
        """Give the text that tokens code: `decode`'s, with each <unk> spelled."""

    def unspelled(self, text: str) -> list[str]:
        """Give what becomes <unk>, a string a token; not an <unk> of the text's own."""

    def decode(self, ids: Ids) -> str:
        """Give the text of ids."""

    def symbols(self, ids: Ids) -> list[str]:
        """Give each id as it is to be printed."""

    def spellings(self) -> list[bytes]:
        """Give what each id adds to a text before it, in UTF-8; b"" spells nothing."""


@runtime_checkable
class Together(Protocol):
    """What a tokenizer offers that is faster with many texts than with each alone."""

    def encode_all(self, texts: Sequence[str]) -> list[Int32[np.ndarray, " _"]]:
        """Give the ids of each text, as `encode` does."""


class Canonical(NamedTuple):
    """What is known of the canonical text of documents that follow each other."""

    size: int
    """Bytes in UTF-8."""
    begins: bool
    """Whether the first begins with a word."""
    goes_on: bool
    """Whether the last has not ended, and stops after a word."""


@runtime_checkable
class Measured(Protocol):
    """What a tokenizer offers whose ids tell how long its canonical text is."""

    def canonical_of(
        self, ids: Integer[np.ndarray, " tokens"], ends: list[int], lost: list[str]
    ) -> Canonical | None:
        """Measure `canonical` of documents; None where ids don't tell."""


def encode_all(
    tokenizer: Trained, texts: Sequence[str]
) -> list[Int32[np.ndarray, " _"]]:
    """Give the ids of each text.

    Raises:
        UserError: the vocabulary lacks something and has no unknown token.
    """
    if isinstance(tokenizer, Together):
        return tokenizer.encode_all(texts)
    return [tokenizer.encode(text) for text in texts]


def boundary_ids(tokenizer: Trained) -> tuple[int, ...]:
    """Give the ids of the tokens that end a sentence or a document."""
    ends = (tokenizer.sentence_end_id, tokenizer.end_id)
    return tuple(end for end in ends if end is not None)


def beginning(tokenizer: Trained) -> Int32[np.ndarray, " tokens"]:
    """Give the token that a text begins after, where no prompt is given.

    The end of the document before it, a line end or a space, the first that the
    vocabulary has; else its first token.
    """
    if tokenizer.end_id is not None:
        return np.array([tokenizer.end_id], np.int32)
    for space in ("\n", " "):
        try:
            ids = tokenizer.encode(space)
        except UserError:
            continue
        if len(ids) and tokenizer.unknown_id not in ids:
            return ids
    first = 1 if tokenizer.unknown_id == 0 and tokenizer.vocab_size > 1 else 0
    return np.array([first], np.int32)


def prompted(tokenizer: Trained, prompt: str | None) -> Int32[np.ndarray, " tokens"]:
    """Give the tokens that a model is to continue.

    A prompt begins a document: where documents have an end, that stands before it, as
    in training. None is where a text begins.

    Raises:
        UserError: the vocabulary lacks something of the prompt.
    """
    if prompt is None:
        return beginning(tokenizer)
    return opened(tokenizer, tokenizer.encode(prompt))


def opened(tokenizer: Trained, ids: Ids) -> Int32[np.ndarray, " tokens"]:
    """Give tokens that begin a document: after the end of another, once."""
    found, end = np.array([*ids], np.int32), tokenizer.end_id
    if not len(found) or end in (None, found[0]):
        return found
    return np.concatenate([beginning(tokenizer), found])


def written(tokenizer: Trained, ids: Ids) -> str:
    """Give the text of ids for people: where a document ends, so does the line."""
    end = tokenizer.end_id
    if end is None or tokenizer.decode([end]):
        return tokenizer.decode(ids)
    documents: list[list[int]] = [[]]
    for i in map(index, ids):
        if i == end:
            documents.append([])
        else:
            documents[-1].append(i)
    return "\n".join(map(tokenizer.decode, documents))


def visible(text: str) -> str:
    """Spell out what cannot be seen in print, such as a line end."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
