"""Pieces of text, or arrays of ids, to the ids that are written."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice

import numpy as np

from lm_jax.data.shards import Shards, Share
from lm_jax.errors import UserError
from lm_jax.text.found import Text
from lm_jax.text.splitting import SPLITS, Piece
from lm_jax.tokenizers import Trained
from lm_jax.tokenizers.chunks import Encoded, encode_chunk
from lm_jax.tokenizers.encoders import Encoders
from lm_jax.tokenizers.threads import cores, in_order

_CHUNK_CHARACTERS = 1 << 20
_CHUNK_IDS = 1 << 22
# Below these, threads cost more than they give, and processes more than threads.
_POOL_BYTES = 8_000_000
_PROCESSES_BYTES = 64_000_000

Numbered = tuple[int, list[Piece]]


def encode_text(
    pieces: Iterable[Piece],
    tokenizer: Trained,
    dtype: str,
    total: int,
    shards: Shards,
    skip: int = 0,
) -> Iterator[Encoded]:
    """Give the ids of pieces of text, in their order.

    Args:
        pieces: of all splits.
        tokenizer: trained.
        dtype: of the ids.
        total: bytes of the text; large ones are encoded in threads, very large ones in
            processes, one for each core.
        shards: chunks that were encoded before, perhaps by other machines.
        skip: chunks at the beginning that are not asked for: they are read alone.

    Raises:
        UserError: the vocabulary lacks something.
    """
    chunks = islice(enumerate(_chunks(pieces)), skip, None)
    for _, encoded in _encoded(chunks, tokenizer, dtype, total, shards):
        yield encoded


def encode_share(
    pieces: Iterable[Piece],
    tokenizer: Trained,
    dtype: str,
    total: int,
    shards: Shards,
    share: Share,
) -> None:
    """Encode the chunks of a share, and keep them; those that are kept stay.

    Args:
        pieces, tokenizer, dtype, total, shards: as of `encode_text`.
        share: which.

    Raises:
        UserError: as `encode_text`.
    """
    chunks = (
        (number, chunk)
        for number, chunk in enumerate(_chunks(pieces))
        if share.has(number)
    )
    for number, encoded in _encoded(chunks, tokenizer, dtype, total, shards):
        shards.keep(number, encoded)


def _encoded(
    chunks: Iterable[Numbered],
    tokenizer: Trained,
    dtype: str,
    total: int,
    shards: Shards,
) -> Iterator[tuple[int, Encoded]]:
    """Encode numbered chunks in as many threads or processes as are worth it."""
    count = cores()
    if total > _PROCESSES_BYTES and count > 1:
        with Encoders(encode_chunk, (tokenizer, dtype), count) as encode:
            yield from in_order(partial(_made, encode, shards), chunks, count)
        return
    encode_here = partial(encode_chunk, tokenizer, dtype)
    workers = count if total > _POOL_BYTES else 1
    yield from in_order(partial(_made, encode_here, shards), chunks, workers)


def _made(
    encode: Callable[[list[Piece]], Encoded], shards: Shards, numbered: Numbered
) -> tuple[int, Encoded]:
    """A chunk as it was encoded before, or is now."""
    number, chunk = numbered
    return number, shards.kept(number) or encode(chunk)


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
