"""Plain text from files: in bounded blocks, checked as UTF-8, measured once."""

import codecs
import hashlib
import io
import json
import os
import tarfile
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from lm_jax.errors import UserError
from lm_jax.files import write_json
from lm_jax.text.opening import check_regular, opened, reading, what_it_is
from lm_jax.text.splitting import size_of

BLOCK_BYTES = 1 << 20
# A text with no line end and no space in so many characters is cut anywhere.
UNBROKEN_CHARACTERS = 1 << 22


def blocks(path: Path, watch: Callable[[bytes], None] | None = None) -> Iterator[str]:
    """Yield the text of a UTF-8 file in blocks of about 1 MB, decompressed.

    A leading byte order mark is dropped and line ends become "\\n", as Python's
    text mode does. `watch` is called with each block of bytes as it was read.

    Raises:
        UserError: the file cannot be read, or is not UTF-8 (with the offset).
    """
    utf8 = codecs.getincrementaldecoder("utf-8-sig")()
    lines = io.IncrementalNewlineDecoder(None, translate=True)
    offset, held = 0, False
    with closing(_binary_blocks(path)) as source:
        for block in source:
            if watch:
                watch(block)
            pending = utf8.getstate()[0]
            try:
                text = utf8.decode(block)
            except UnicodeDecodeError as error:
                raise _not_utf8(path, offset - len(pending) + error.start) from error
            offset += len(block)
            # Most texts have no line end to be changed; the decoder is slow to see it.
            changed = held or "\r" in text
            held = text.endswith("\r") if text else held
            yield lines.decode(text) if changed else text
    try:
        utf8.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise _not_utf8(path, offset - len(utf8.getstate()[0])) from error
    yield lines.decode("", final=True)


def _not_utf8(path: Path, offset: int) -> UserError:
    return UserError(
        f"{path} is not UTF-8: the byte at offset {offset} cannot be decoded. "
        f"{what_it_is(path)}"
    )


def _binary_blocks(path: Path) -> Generator[bytes, None, None]:
    with reading(path), opened(path) as file:
        while block := file.read(BLOCK_BYTES):
            yield block


def cut_safely(texts: Iterable[str]) -> Iterator[str]:
    """Cut a text again, so that no tokenizer sees a difference.

    Cuts stand after a line end, else before a space: no word and no subword
    lies across them. A text that has neither is cut every 4M characters.
    """
    rest = ""
    for text in texts:
        rest += text
        cut = rest.rfind("\n") + 1 or max(rest.rfind(" "), 0)
        if not cut and len(rest) > UNBROKEN_CHARACTERS:
            cut = len(rest)
        if cut:
            yield rest[:cut]
            rest = rest[cut:]
    if rest:
        yield rest


class Separator:
    """What stands between the documents of plain text, and whether it was met."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._met = not text

    def cut(self, texts: Iterable[str]) -> Iterator[str]:
        """Yield what lies between separators, without line ends around it.

        Documents that are empty are dropped.
        """
        begun: list[str] = []  # a document's parts: joined once, however many
        edge = ""  # its end, where a separator may have begun
        for text in texts:
            first, *others = (edge + text).split(self.text)
            if others:
                self._met = True
                *whole, last = ["".join([*begun, first]), *others]
                yield from _filled(whole)
                begun, first = [], last
            cut = max(len(first) - len(self.text) + 1, 0)
            begun.append(first[:cut])
            edge = first[cut:]
        yield from _filled(["".join([*begun, edge])])

    def check(self, title: str) -> None:
        """Refuse a text that was read to its end and has no separator.

        Raises:
            UserError: it was never met.
        """
        if not self._met:
            hint = " Line ends are \\n alone when a text is cut." * ("\r" in self.text)
            if "\\" in self.text:
                hint = " A line end is written $'\\n' in the shell, not \"\\n\"."
            raise UserError(
                f"The separator {self.text!r} never occurs in {title}: it would be one "
                f"document (data.corpus.separator).{hint}"
            )


def _filled(documents: Iterable[str]) -> Iterator[str]:
    for document in documents:
        if document := document.strip("\n"):
            yield document


def tar_documents(path: Path) -> Iterator[str]:
    """Yield each .txt file of a .tar.gz as one document.

    Old electronic books are not all UTF-8: those that are not are Latin-1.
    """
    with reading(path), tarfile.open(path, "r|*") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file is None or not member.name.endswith(".txt"):
                continue
            yield _decoded(file.read())


def old_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file; those that are not UTF-8 are Latin-1."""
    with reading(path), opened(path) as file:
        for line in file:
            yield _decoded(line).rstrip("\n")


def _decoded(raw: bytes) -> str:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return text.replace("\r\n", "\n")


def measure(path: Path, cache: Path, text: bool = True) -> dict:
    """Give a file's sha256, its bytes, its stamp and (for text) its characters.

    Bytes and digest are of what stands in the file, decompressed; `dropped` is how
    many of the bytes the text lacks: of line ends and a byte order mark. The result
    is kept in the cache and believed as long as the file has the same stamp, so
    that a big file is read once.

    Raises:
        UserError: the file is empty, cannot be read or, with text, not UTF-8, nor
            UTF-16 that could be taken for it.
    """
    check_regular(path)
    place = os.fsencode(path.resolve())  # A name need not be UTF-8.
    known = {"path": place.hex(), "stamp": stamp(path)}
    name = hashlib.sha256(place).hexdigest()[:20]
    record = cache / "digests" / f"{name}-{'text' if text else 'bytes'}.json"
    try:
        kept = json.loads(record.read_text())
        if kept["of"] == known:
            return kept["measure"]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # Not there, or no longer readable: it is made again.
    result = {**_measure(path, text), "stamp": known["stamp"]}
    try:
        write_json(record, {"of": known, "measure": result})
    except UserError:
        # Who may only read a cache has its tokens all the same.
        if not cache.is_dir():
            raise
    return result


def stamp(path: Path) -> list[int]:
    """Give what changes whenever a file's content does.

    The time of change (ctime) is the system's own: `touch -d`, `cp -p` and
    `rsync -t` set the time of writing as they like, and never this one.
    """
    with reading(path):
        found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def check_unchanged(path: Path, before: list[int]) -> None:
    """Refuse a file that was written to since it was measured.

    Raises:
        UserError: what was read is not what the digest names.
    """
    if stamp(path) != before:
        raise UserError(
            f"{path} was changed while it was read. Start again when it is complete."
        )


def _check_not_wide(path: Path, block: str) -> None:
    """Refuse UTF-16 and -32 without a mark: of Latin letters both are UTF-8 with zeros.

    Raises:
        UserError: saying how to convert it.
    """
    zeros = sorted(block[place::4].count("\0") for place in range(4))
    # Those of an archive lie in a row, and stand in all places alike.
    if sum(zeros) > len(block) / 5 and zeros[0] < zeros[-1] / 10:
        raise UserError(
            f"{path} is no text in UTF-8: {sum(zeros):,} of its first {len(block):,} "
            "characters are 0, as in UTF-16 without a mark. Convert it first "
            "(iconv -f UTF-16LE -t UTF-8)."
        )


def _measure(path: Path, text: bool) -> dict:
    digest, size = hashlib.sha256(), 0

    def watch(block: bytes) -> None:
        nonlocal size
        digest.update(block)
        size += len(block)

    result: dict[str, str | int] = {}
    if text:
        sizes: list[list[int]] = []
        for block in blocks(path, watch):
            if not sizes:
                _check_not_wide(path, block)
            sizes.append([len(block), size_of(block)])
        characters, kept = np.sum(sizes, axis=0).tolist()
        result = {"characters": characters, "dropped": size - kept}
    else:
        deque(map(watch, _binary_blocks(path)), maxlen=0)
    if size == 0:
        raise UserError(f"{path} is empty: there is no text to learn from.")
    return {"sha256": digest.hexdigest(), "bytes": size, **result}
