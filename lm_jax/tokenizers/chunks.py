"""A chunk of text to the ids that are written, and what text they code."""

from typing import NamedTuple

import numpy as np

from lm_jax.errors import UserError
from lm_jax.text.splitting import Piece, size_of
from lm_jax.tokenizers.trained import Canonical, Measured, Trained, encode_all


class Coded(NamedTuple):
    """The text that tokens code: what bits per byte are divided by, and begin with.

    A token <unk> that stands for something else is followed by what it stands for: 8
    bits a byte, and 8 that end it (a byte that UTF-8 doesn't have). So the tokens, by
    a model's probabilities, and the spelling are a code of the text. Tokens that no
    model predicts are told as one of the vocabulary.
    """

    read: int = 0
    """Bytes of the text in UTF-8, ends of documents not counted."""
    bytes: int = 0
    """Of the canonical text: without what the tokens forget. 0 where ids came without
    their text."""
    spelling: int = 0
    """Bits that spell what became <unk>."""
    tokens: int = 0
    """That code it."""
    uniform: float = 0.0
    """Bits of these, were each as likely as any other token of the vocabulary."""

    def with_more(self, other: "Coded") -> "Coded":
        """Give the sums of both."""
        return Coded._make(map(sum, zip(self, other, strict=True)))

    def unpredicted(self, predicted: int | float) -> float:
        """Give the bits of the tokens that are left when so many are predicted.

        The first of a stream follows nothing: a code tells it as one of the vocabulary.
        """
        left = max(0.0, self.tokens - predicted)
        return left * self.uniform / self.tokens if left else 0.0


class Encoded(NamedTuple):
    """The tokens of a chunk of one split, and where in them documents end."""

    split: str
    ids: np.ndarray
    ends: list[int]
    unknown: int
    coded: Coded = Coded()
    begins: bool = False
    """Whether a space stands before it, where it goes on with a document's words."""
    goes_on: bool = False
    """Whether its document goes on, after a word."""


def encode_chunk(tokenizer: Trained, dtype: str, pieces: list[Piece]) -> Encoded:
    """Give the ids of pieces of one split, which follow each other.

    Raises:
        UserError: the vocabulary lacks something.
    """
    split = pieces[0].split
    try:
        found = encode_all(tokenizer, [piece.text for piece in pieces])
    except UserError as error:
        raise UserError(f"In the {split} split: {error}") from error
    final = [] if tokenizer.end_id is None else [tokenizer.end_id]
    ids, ends, count = list[np.ndarray](), list[int](), 0
    for own, piece in zip(found, pieces, strict=True):
        ids.append(own.astype(dtype))
        count += len(own)
        if piece.last:
            ids.append(np.array(final, dtype))
            count += len(final)
            ends.append(count)
    joined = np.concatenate(ids)
    unknown = tokenizer.unknown_id
    lost = 0 if unknown is None else int(np.count_nonzero(joined == unknown))
    texts = _documents(pieces)
    spelled = [word for text in texts if lost for word in tokenizer.unspelled(text)]
    canonical = None
    if isinstance(tokenizer, Measured):
        canonical = tokenizer.canonical_of(joined, ends, spelled)
    if canonical is None:
        canonical = _measured(tokenizer, texts, pieces[-1].last)
    bits = 8 * (_size(spelled) + len(spelled))
    coded = Coded(_size(texts), canonical.size, bits)
    return Encoded(split, joined, ends, lost, coded, *canonical[1:])


def _measured(tokenizer: Trained, texts: list[str], last: bool) -> Canonical:
    """Measure the canonical text of documents; `last` where the last has ended."""
    if tokenizer.forgets:
        texts = [tokenizer.canonical(text) for text in texts]
    between = bool(tokenizer.joiner)
    begins = between and texts[0][:1] not in ("", "\n")
    goes_on = between and not last and texts[-1][-1:] not in ("", "\n")
    return Canonical(_size(texts), begins, goes_on)


def _documents(pieces: list[Piece]) -> list[str]:
    """Join the pieces of each document: a cut is no white space."""
    texts: list[list[str]] = [[]]
    for piece in pieces:
        texts[-1].append(piece.text)
        if piece.last:
            texts.append([])
    return ["".join(parts) for parts in texts if parts]


def _size(texts: list[str]) -> int:
    return sum(map(size_of, texts))
