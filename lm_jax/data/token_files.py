"""The files of a text's tokens: written chunk by chunk, gone on with after a kill."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from lm_jax.data.copies import Copies
from lm_jax.data.encoding import check_arrays, encode_share, encode_text
from lm_jax.data.shards import Shards, Share
from lm_jax.files import write_json
from lm_jax.folders import resumed_folder
from lm_jax.text.found import Text
from lm_jax.text.splitting import SPLITS, Piece, size_of
from lm_jax.tokenizers import Tokenizer, Trained, load_tokenizer, save_tokenizer
from lm_jax.tokenizers.chunks import Coded, Encoded

TOKENIZER = "tokenizer.json"
_TRAINED = "trained"  # the folder of it, among shards
_NOTED_CHUNKS = 32  # after so many it is noted how far the files are whole

_Item = TypeVar("_Item")

Progress = Callable[[str, int, int], None]
"""Called with a description, the bytes done and the bytes in all; -1 in all as what has
no measure begins (0 done), and as it ends (1)."""
# A tokenizer learns from less in no time.
_MUCH = 2_000_000  # bytes


def make_tokens(
    folder: Path,
    texts: Sequence[Text],
    tokenizer: Tokenizer,
    end: bool,
    keep_ids: bool,
    shards: Path,
    progress: Progress | None,
) -> None:
    """Fill a folder with the tokens of texts.

    Where a process was killed before, its tokenizer and the chunks that it noted stay;
    the files come out as if it had not been. The text is read again from its
    beginning, for what it has twice.

    Args:
        folder: empty, or as such a process has left it.
        texts: one after the other.
        tokenizer: trained on the training split of all of them.
        end: whether a token ends each document.
        keep_ids: whether the ids are written; else they lie elsewhere.
        shards: folder of chunks that `make_share` encoded, and of its tokenizer.
        progress: told how far it is.

    Raises:
        UserError: the text does not fit the tokenizer.
    """
    with suppress(FileNotFoundError):
        shutil.copy(shards / _TRAINED / TOKENIZER, folder / TOKENIZER)
    total = sum(text.bytes for text in texts)
    report = partial(_reported, total=total, progress=progress)
    learning = progress if progress and total > _MUCH else _untold
    trained = _trained(folder, texts, tokenizer, end, report, learning)
    dtype = narrowest(trained.vocab_size)
    done, copies, noted = 0, Copies(), _Noted(folder)
    with ExitStack() as files:
        writers = {
            name: Writer(folder, name, files, keep_ids, noted.splits.get(name))
            for name in SPLITS
        }
        for place, text in enumerate(texts):
            skip = noted.of(place)
            if text.arrays:
                given = check_arrays(text, trained, dtype)
                made = report("checking", given, lambda e: e.ids.nbytes, done)
                made = iter(islice(made, skip, None))
            else:
                watched = copies.watch(text.pieces())
                read = report("tokenizing", watched, _piece_size, done)
                made = encode_text(
                    read, trained, dtype, total, Shards(shards, place), skip
                )
            for number, encoded in enumerate(made, skip + 1):
                writers[encoded.split].add(encoded)
                noted.note(place, number, writers)
            for writer in writers.values():
                writer.ends(place)
            done += text.bytes
    noted.path.unlink(missing_ok=True)
    _write_meta(folder, texts, dtype, writers, copies)


def _write_meta(
    folder: Path,
    texts: Sequence[Text],
    dtype: str,
    writers: "dict[str, Writer]",
    copies: Copies,
) -> None:
    """Say what the files of a text's tokens hold."""
    splits = {name: writer.meta() for name, writer in writers.items() if writer.tokens}
    # Of ids that came without their text nobody knows the bytes, nor of a whole split.
    for name in {split for text in texts for split, _ in text.arrays} & splits.keys():
        splits[name]["coded"] = Coded()._asdict()
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    digest = copies.digest(text.digest for text in texts if text.arrays)
    said = [*(note for text in texts for note in text.noted()), *copies.said()]
    meta = {"dtype": dtype, "splits": splits, "text": digest, "copies": said}
    write_json(folder / "meta.json", meta | {"sizes": sizes})


def make_share(
    shards: Path,
    texts: Sequence[Text],
    tokenizer: Tokenizer,
    end: bool,
    share: Share,
    progress: Progress | None,
) -> None:
    """Encode a share of texts, for `make_tokens` to join with the others.

    Args:
        shards: folder that all who have a share see.
        texts, tokenizer, end, progress: as of `make_tokens`.
        share: which chunks.

    Raises:
        UserError: as `make_tokens`.
    """
    total = sum(text.bytes for text in texts)
    report = partial(_reported, total=total, progress=progress)
    learning = progress if progress and total > _MUCH else _untold
    with resumed_folder(shards / _TRAINED) as unfinished:  # one does, the others wait
        if unfinished is not None:
            _trained(unfinished, texts, tokenizer, end, report, learning)
    trained = load_tokenizer(shards / _TRAINED / TOKENIZER)
    dtype, done = narrowest(trained.vocab_size), 0
    for place, text in enumerate(texts):
        if not text.arrays:
            read = report("tokenizing", text.pieces(), _piece_size, done)
            encode_share(read, trained, dtype, total, Shards(shards, place), share)
        done += text.bytes


def _trained(
    folder: Path,
    texts: Sequence[Text],
    tokenizer: Tokenizer,
    end: bool,
    report: Callable,
    learning: Progress,
) -> Trained:
    """The tokenizer that lies there, or one that is trained and put there.

    Those that learn (SentencePiece) read all before they do.
    """
    path = folder / TOKENIZER
    if path.exists():
        return load_tokenizer(path)
    pieces = chain.from_iterable(text.pieces() for text in texts)
    what = f"learning a vocabulary of {type(tokenizer).__name__}"

    def training() -> Iterator[str]:
        read = report("reading", pieces, _piece_size, 0)
        yield from (piece.text for piece in read if piece.split == "train")
        learning(what, 0, -1)

    trained = tokenizer.train(training(), end=end)
    learning(what, 1, -1)
    save_tokenizer(trained, path)
    return trained


def _untold(what: str, done: int, total: int) -> None:
    """Say nothing."""


def _reported(
    what: str,
    items: Iterable[_Item],
    size: Callable[[_Item], int],
    done: int,
    total: int,
    progress: Progress | None,
) -> Iterator[_Item]:
    if progress is None:
        yield from items
        return
    told = done
    for item in items:
        yield item
        done += size(item)
        if done - told > 1_000_000:
            told = done
            progress(what, min(done, total), total)
    progress(what, min(done, total), total)


def _piece_size(piece: Piece) -> int:
    return size_of(piece.text)


class _Noted:
    """How far the files of a folder are whole, in a file beside them.

    Attributes:
        path: of that file.
        splits: what writers were, by the names of their splits.
    """

    def __init__(self, folder: Path):
        self.path = folder / "noted.json"
        found: dict[str, Any] = {"chunks": [], "splits": {}}
        if self.path.exists():
            found = json.loads(self.path.read_text())
        self._chunks: list[int] = found["chunks"]
        self.splits: dict[str, dict] = found["splits"]

    def of(self, place: int) -> int:
        """The chunks of a text that are written."""
        return self._chunks[place] if place < len(self._chunks) else 0

    def note(self, place: int, number: int, writers: "dict[str, Writer]") -> None:
        """Note that so many chunks of a text are written; now and then on the disk."""
        self._chunks[place:] = [number]
        if number % _NOTED_CHUNKS == 0:
            splits = {name: writer.state() for name, writer in writers.items()}
            write_json(self.path, {"chunks": self._chunks, "splits": splits})


class Writer:
    """The growing files of one split.

    Args:
        folder: that they are in.
        name: of the split.
        files: closes them.
        keep_ids: whether the ids are written.
        was: what `state` gave when they were whole up to here; None is the beginning.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        files: ExitStack,
        keep_ids: bool,
        was: dict | None = None,
    ) -> None:
        sizes = was["files"] if was else {}
        opened = partial(_opened, files, sizes)
        self._ids = opened(folder / f"{name}.ids") if keep_ids else None
        self._ends = opened(folder / f"{name}.documents")
        self.tokens, self.unknown, self.parts = 0, 0, [0]
        self._coded, self._goes_on = Coded(), False
        if was is None:
            self._ends.write(np.zeros(1, "<i8").tobytes())
            return
        self.tokens, self.unknown, self.parts = (
            was["tokens"],
            was["unknown"],
            was["parts"],
        )
        self._coded, self._goes_on = Coded(**was["coded"]), was["goes_on"]

    def add(self, encoded: Encoded) -> None:
        """Append a chunk."""
        if self._ids is not None:
            self._ids.write(encoded.ids.data)
        ends = np.array(encoded.ends, "<i8") + self.tokens
        self._ends.write(ends.tobytes())
        self.tokens += len(encoded.ids)
        self.unknown += encoded.unknown
        space = Coded(bytes=self._goes_on and encoded.begins)
        self._coded = self._coded.with_more(encoded.coded).with_more(space)
        if len(encoded.ids) or encoded.ends:
            self._goes_on = encoded.goes_on

    def ends(self, place: int) -> None:
        """Say that a text has ended: the first, the second; once more is no more."""
        self.parts[place + 1 :] = self.parts[place + 1 : place + 2] or [self.tokens]

    def state(self) -> dict:
        """Give all that it takes to go on from here, once the files are on the disk."""
        sizes = {}
        for file in filter(None, (self._ids, self._ends)):
            file.flush()
            os.fsync(file.fileno())
            sizes[Path(file.name).name] = file.tell()
        own = {"tokens": self.tokens, "goes_on": self._goes_on, "files": sizes}
        return self.meta() | own

    def meta(self) -> dict:
        """Give what `meta.json` says of the split."""
        return {
            "parts": self.parts,
            "unknown": self.unknown,
            "coded": self._coded._asdict(),
        }


def _opened(files: ExitStack, sizes: dict[str, int], path: Path) -> BinaryIO:
    """Open a file to append to it, cut back to where it was whole.

    Raises:
        ValueError: it is shorter: the disk has lost what it had.
    """
    file = files.enter_context(path.open("ab"))
    size = sizes.get(path.name, 0)
    if file.tell() < size:
        raise ValueError(f"{path} has lost some of what was written.")
    file.truncate(size)
    file.seek(size)
    return file


def narrowest(vocab_size: int) -> str:
    """Give the smallest unsigned type, little-endian, that holds every id."""
    if vocab_size <= 1 << 8:
        return "<u1"
    return "<u2" if vocab_size <= 1 << 16 else "<u4"
