"""Token arrays on disk: made once, found again by the digest of what they are."""

import dataclasses
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lm_jax.errors import UserError
from lm_jax.files import whole_folder, write_json
from lm_jax.text.corpora import Piece, Text
from lm_jax.tokenizers import Tokenizer, Trained, load_tokenizer, save_tokenizer
from lm_jax.tokenizers.saved import describe
from lm_jax.tokenizers.saved import digest as tokenizer_digest

SPLITS = ("train", "validation", "test")
# Part of every folder's name: raise it when the same text would give other files.
FORMAT = 2
_CHUNK_CHARACTERS = 1 << 20
# Below this a pool of threads costs more than it gives.
_POOL_BYTES = 8_000_000

Progress = Callable[[str, int, int], None]
"""Called with a description, the bytes done and the bytes in all."""


@dataclass(frozen=True)
class Tokens:
    """The tokens of one split."""

    ids: np.ndarray
    """(tokens,) unsigned, memory-mapped: all documents, one after the other."""
    documents: np.ndarray
    """(documents + 1,) int64: where in `ids` each document starts and ends."""
    parts: tuple[int, ...]
    """Where in `ids` the text of each corpus starts and ends."""
    bytes: int
    """Bytes of the text in UTF-8, ends of documents not counted."""
    spelled: int
    """Of these bytes, those that the tokens give back: not what became <unk>."""
    unknown: int
    """How many of the tokens are <unk>."""


class Tokenized(NamedTuple):
    """What is known of a text once its tokens are on disk."""

    tokenizer: Trained
    splits: dict[str, Tokens]
    statement: str
    digest: str
    """Of the texts, how they were split, the tokenizer as it was asked for and as it
    was trained."""


def tokenize(
    texts: Sequence[Text],
    tokenizer: Tokenizer,
    end: bool,
    cache: Path,
    progress: Progress | None = None,
) -> Tokenized:
    """Give the tokens of some texts, from the cache or made and kept there.

    One tokenizer is trained on the training split of all texts. With `end` its
    end-of-document token follows each document.

    Raises:
        UserError: the text does not fit the tokenizer, or the disk is full.
    """
    digest = _digest(texts, tokenizer, end)
    folder = cache / "tokens" / f"{digest}-{FORMAT}"
    statement = [text.statement for text in texts]
    made = None
    if folder.is_dir():
        try:
            made = _load(folder)
        except (OSError, ValueError, KeyError, TypeError, UserError) as error:
            statement.append(f"{folder} was damaged and made again: {error}.")
            shutil.rmtree(folder)
    if made is None:
        with whole_folder(folder) as temporary:
            _make(temporary, texts, tokenizer, end, progress)
        made = _load(folder)
    trained, splits = made
    statement += [describe(trained), *map(_sizes, splits, splits.values())]
    # What was trained counts too: the same text can give other pieces elsewhere.
    whole = sha256(f"{digest} {tokenizer_digest(trained)}".encode()).hexdigest()[:20]
    return Tokenized(trained, splits, "\n".join(statement), whole)


def _digest(texts: Sequence[Text], tokenizer: Tokenizer, end: bool) -> str:
    value = dataclasses.asdict(tokenizer)  # type: ignore[call-overload]
    kind = type(tokenizer).__name__
    # A kept tokenizer is what it holds, not where it lies.
    kept = tokenizer_digest(tokenizer.train(())) if kind == "Kept" else ""
    what = [[text.digest for text in texts], kind, value, end, *[kept] * bool(kept)]
    return sha256(json.dumps(what).encode()).hexdigest()[:20]


def _sizes(name: str, tokens: Tokens) -> str:
    share = tokens.unknown / max(len(tokens.ids), 1)
    unknown = f", {share:.2%} of them unknown" if tokens.unknown else ""
    return f"{name}: {len(tokens.ids):,} tokens of {tokens.bytes:,} bytes{unknown}."


def _load(folder: Path) -> tuple[Trained, dict[str, Tokens]]:
    meta = json.loads((folder / "meta.json").read_text())
    for name, size in meta["sizes"].items():
        found = (folder / name).stat().st_size
        if found != size:
            raise ValueError(f"{name} had {found:,} bytes, not {size:,}")
    splits = {
        name: Tokens(
            _map(folder / f"{name}.ids", meta["dtype"]),
            _map(folder / f"{name}.documents", "<i8"),
            tuple(split["parts"]),
            split["bytes"],
            split["spelled"],
            split["unknown"],
        )
        for name, split in meta["splits"].items()
    }
    return load_tokenizer(folder / "tokenizer.json"), splits


def _map(path: Path, dtype: str) -> np.ndarray:
    if path.stat().st_size == 0:
        return np.empty(0, dtype)
    return np.memmap(path, dtype, "r")


class _Encoded(NamedTuple):
    """The tokens of a chunk of one split, and where in them documents end."""

    split: str
    ids: np.ndarray
    ends: list[int]
    bytes: int
    spelled: int
    unknown: int


def _make(
    folder: Path,
    texts: Sequence[Text],
    tokenizer: Tokenizer,
    end: bool,
    progress: Progress | None,
) -> None:
    total = sum(text.bytes for text in texts)
    report = partial(_reported, total=total, progress=progress)
    training = (
        piece.text
        for piece in report("reading", chain.from_iterable(t.pieces() for t in texts))
        if piece.split == "train"
    )
    trained = tokenizer.train(training, end=end)
    save_tokenizer(trained, folder / "tokenizer.json")
    dtype = _narrowest(trained.vocab_size)
    encode = partial(_encode, trained, dtype)
    done = 0
    with ExitStack() as files:
        writers = {name: _Writer(folder, name, files) for name in SPLITS}
        for text in texts:
            pieces = report("tokenizing", text.pieces(), done=done)
            for encoded in _in_order(encode, _chunks(pieces), total > _POOL_BYTES):
                writers[encoded.split].add(encoded)
            for writer in writers.values():
                writer.parts.append(writer.tokens)
            done += text.bytes
    splits = {name: writer.meta() for name, writer in writers.items() if writer.tokens}
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    meta = {"dtype": dtype, "splits": splits, "sizes": sizes}
    write_json(folder / "meta.json", meta)


def _reported(
    what: str,
    pieces: Iterable[Piece],
    total: int,
    progress: Progress | None,
    done: int = 0,
) -> Iterator[Piece]:
    if progress is None:
        yield from pieces
        return
    told = done
    for piece in pieces:
        yield piece
        done += len(piece.text.encode("utf-8", "surrogatepass"))
        if done - told > 1_000_000:
            told = done
            progress(what, min(done, total), total)
    progress(what, min(done, total), total)


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


def _encode(tokenizer: Trained, dtype: str, pieces: list[Piece]) -> _Encoded:
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
    size = sum(len(piece.text.encode()) for piece in pieces)
    unknown = tokenizer.unknown_id
    lost = 0 if unknown is None else int(np.count_nonzero(joined == unknown))
    spelled = size
    if lost:
        spelled -= sum(tokenizer.unspelled(piece.text) for piece in pieces)
    return _Encoded(split, joined, ends, size, spelled, lost)


def _in_order(
    encode: Callable[[list[Piece]], _Encoded],
    chunks: Iterable[list[Piece]],
    parallel: bool,
) -> Iterator[_Encoded]:
    """Encode chunks in their order, a few at a time in threads.

    Threads suffice: SentencePiece and numpy work outside Python's lock, and
    nothing has to be copied to another process.
    """
    if not parallel:
        yield from map(encode, chunks)
        return
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        running: deque[Future[_Encoded]] = deque()
        for chunk in chunks:
            running.append(pool.submit(encode, chunk))
            if len(running) > workers:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


class _Writer:
    """The growing files of one split."""

    def __init__(self, folder: Path, name: str, files: ExitStack) -> None:
        self._ids = files.enter_context((folder / f"{name}.ids").open("wb"))
        self._ends = files.enter_context((folder / f"{name}.documents").open("wb"))
        self._ends.write(np.zeros(1, "<i8").tobytes())
        self.tokens = self.bytes = self.spelled = self.unknown = 0
        self.parts = [0]

    def add(self, encoded: _Encoded) -> None:
        """Append a chunk."""
        self._ids.write(encoded.ids.data)
        ends = np.array(encoded.ends, "<i8") + self.tokens
        self._ends.write(ends.tobytes())
        self.tokens += len(encoded.ids)
        self.bytes += encoded.bytes
        self.spelled += encoded.spelled
        self.unknown += encoded.unknown

    def meta(self) -> dict:
        """Give what `meta.json` says of the split."""
        return {
            "parts": self.parts,
            "bytes": self.bytes,
            "spelled": self.spelled,
            "unknown": self.unknown,
        }


def _narrowest(vocab_size: int) -> str:
    """Give the smallest unsigned type, little-endian, that holds every id."""
    if vocab_size <= 1 << 8:
        return "<u1"
    return "<u2" if vocab_size <= 1 << 16 else "<u4"
