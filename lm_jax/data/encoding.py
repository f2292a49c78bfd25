"""Pieces of text, or arrays of ids, to the ids that are written."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np

from lm_jax.errors import UserError
from lm_jax.text.found import Text
from lm_jax.text.splitting import SPLITS, Piece
from lm_jax.tokenizers import Trained

_CHUNK_CHARACTERS = 1 << 20
_CHUNK_IDS = 1 << 22
# Below this a pool of threads costs more than it gives.
_POOL_BYTES = 8_000_000


class Coded(NamedTuple):
    """The text that tokens code: what bits per byte are divided by, and begin with.

    A token <unk> that stands for something else is followed by what it stands for: 8
    bits a byte, and 8 that end it (a byte that UTF-8 doesn't have). So the tokens, by
    a model's probabilities, and the spelling are a code of the text.
    """

    read: int = 0
    """Bytes of the text in UTF-8, ends of documents not counted."""
    bytes: int = 0
    """Of the canonical text: without what the tokens forget. 0 where ids came without
    their text."""
    spelling: int = 0
    """Bits that spell what became <unk>."""

    def with_more(self, other: "Coded") -> "Coded":
        """Give the sums of both."""
        return Coded(*map(sum, zip(self, other, strict=True)))


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


def encode_text(
    pieces: Iterable[Piece], tokenizer: Trained, dtype: str, total: int
) -> Iterator[Encoded]:
    """Give the ids of pieces of text, in their order.

    Args:
        pieces: of all splits.
        tokenizer: trained.
        dtype: of the ids.
        total: bytes of the text; large ones are encoded in threads.

    Raises:
        UserError: the vocabulary lacks something.
    """
    encode = partial(_encode, tokenizer, dtype)
    return _in_order(encode, _chunks(pieces), total > _POOL_BYTES)


def check_arrays(text: Text, tokenizer: Trained, dtype: str) -> Iterator[Encoded]:
    """Give the ids of a text's arrays, and where documents end in them.

    Each array ends a document, whatever its last id.

    Raises:
        UserError: an id is none of the tokenizer's.
    """
    for split, ids in text.arrays:
        for start in range(0, len(ids), _CHUNK_IDS):
            chunk = ids[start : start + _CHUNK_IDS]
            if chunk.max() >= tokenizer.vocab_size:
                first = int(np.argmax(chunk >= tokenizer.vocab_size))
                raise UserError(
                    f"In the {split} split, number {start + first:,} is "
                    f"{chunk[first]:,}, and ids are 0 to {tokenizer.vocab_size - 1:,}. "
                    "Is the vocabulary larger (data.tokenizer.size), or do the ids "
                    "have another type (data.corpus.dtype)?"
                )
            ends = np.flatnonzero(chunk == tokenizer.end_id) + 1
            if start + len(chunk) == len(ids):
                ends = np.union1d(ends, [len(chunk)])
            yield Encoded(split, chunk.astype(dtype), ends.tolist(), 0)


def _chunks(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Gather pieces of a split until there is enough for one piece of work."""
    waiting: dict[str, list[Piece]] = {name: [] for name in SPLITS}
    sizes = dict.fromkeys(SPLITS, 0)
    for piece in pieces:
        waiting[piece.split].append(piece)
        sizes[piece.split] += len(piece.text) + 1
        if sizes[piece.split] > _CHUNK_CHARACTERS:
            yield waiting[piece.split]
            waiting[piece.split], sizes[piece.split] = [], 0
    yield from (chunk for chunk in waiting.values() if chunk)


def _encode(tokenizer: Trained, dtype: str, pieces: list[Piece]) -> Encoded:
    split, ids, ends, count = pieces[0].split, [], [], 0
    final = [] if tokenizer.end_id is None else [tokenizer.end_id]
    for piece in pieces:
        try:
            ids.append(tokenizer.encode(piece.text).astype(dtype))
        except UserError as error:
            raise UserError(f"In the {split} split: {error}") from error
        count += len(ids[-1])
        if piece.last:
            ids.append(np.array(final, dtype))
            count += len(final)
            ends.append(count)
    joined = np.concatenate(ids)
    unknown = tokenizer.unknown_id
    lost = 0 if unknown is None else int(np.count_nonzero(joined == unknown))
    texts = _documents(pieces)
    canonical = [tokenizer.canonical(text) for text in texts]
    spelled = [word for text in texts if lost for word in tokenizer.unspelled(text)]
    coded = Coded(_size(texts), _size(canonical), 8 * (_size(spelled) + len(spelled)))
    first, last = canonical[0], "" if pieces[-1].last else canonical[-1]
    between = bool(tokenizer.joiner)
    begins = between and first[:1] not in ("", "\n")
    goes_on = between and last[-1:] not in ("", "\n")
    return Encoded(split, joined, ends, lost, coded, begins, goes_on)


def _documents(pieces: list[Piece]) -> list[str]:
    """Join the pieces of each document: a cut is no white space."""
    texts: list[list[str]] = [[]]
    for piece in pieces:
        texts[-1].append(piece.text)
        if piece.last:
            texts.append([])
    return ["".join(parts) for parts in texts if parts]


def _size(texts: list[str]) -> int:
    return sum(len(text.encode()) for text in texts)


def _in_order(
    encode: Callable[[list[Piece]], Encoded],
    chunks: Iterable[list[Piece]],
    parallel: bool,
) -> Iterator[Encoded]:
    """Encode chunks in their order, a few at a time in threads.

    Threads suffice: SentencePiece and numpy work outside Python's lock, and
    nothing has to be copied to another process.
    """
    if not parallel:
        yield from map(encode, chunks)
        return
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        running: deque[Future[Encoded]] = deque()
        for chunk in chunks:
            running.append(pool.submit(encode, chunk))
            if len(running) > workers:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
