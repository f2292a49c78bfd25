"""Plain text from files: in bounded blocks, checked as UTF-8, measured once."""

import codecs
import gzip
import hashlib
import io
import json
import os
import tarfile
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from lm_jax.errors import UserError
from lm_jax.files import write_json

BLOCK_BYTES = 1 << 20
# A text with no line end and no space in so many characters is cut anywhere.
UNBROKEN_CHARACTERS = 1 << 22


def blocks(path: Path, watch: Callable[[bytes], None] | None = None) -> Iterator[str]:
    """Yield the text of a UTF-8 file (.gz too) in blocks of about 1 MB.

    A leading byte order mark is dropped and line ends become "\\n", as Python's
    text mode does. `watch` is called with each block of bytes as it was read.

    Raises:
        UserError: the file cannot be read, or is not UTF-8 (with the offset).
    """
    utf8 = codecs.getincrementaldecoder("utf-8-sig")()
    lines = io.IncrementalNewlineDecoder(None, translate=True)
    offset = 0
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
            yield lines.decode(text)
    try:
        utf8.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise _not_utf8(path, offset - len(utf8.getstate()[0])) from error
    yield lines.decode("", final=True)


def _not_utf8(path: Path, offset: int) -> UserError:
    return UserError(
        f"{path} is not UTF-8: the byte at offset {offset} cannot be decoded. "
        "Convert the file to UTF-8 first (for example with iconv)."
    )


def _binary_blocks(path: Path) -> Generator[bytes, None, None]:
    with reading(path), _open(path) as file:
        while block := file.read(BLOCK_BYTES):
            yield block


def _open(path: Path) -> io.BufferedIOBase:
    if path.name.endswith(".gz") and not path.name.endswith(".tar.gz"):
        return gzip.open(path)
    return path.open("rb")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the ways in which reading a file fails into one message each."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError) as error:
        raise UserError(
            f"{path} is damaged: it cannot be decompressed ({error})."
        ) from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error


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


def cut_documents(texts: Iterable[str], separator: str) -> Iterator[str]:
    """Yield what lies between separators, without line ends around it.

    Documents that are empty are dropped.
    """
    rest = ""
    for text in texts:
        *documents, rest = (rest + text).split(separator)
        yield from _filled(documents)
    yield from _filled([rest])


def _filled(documents: Iterable[str]) -> Iterator[str]:
    for document in documents:
        if document := document.strip("\n"):
            yield document


def tar_documents(path: Path) -> Iterator[str]:
    """Yield each .txt file of a .tar.gz as one document.

    Old electronic books are not all UTF-8: those that are not are Latin-1.
    """
    with reading(path), tarfile.open(path, "r|gz") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file is None or not member.name.endswith(".txt"):
                continue
            yield _decoded(file.read())


def old_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file (.gz too); those that are not UTF-8 are Latin-1."""
    with reading(path), _open(path) as file:
        for line in file:
            yield _decoded(line).rstrip("\n")


def _decoded(raw: bytes) -> str:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return text.replace("\r\n", "\n")


def measure(path: Path, cache: Path, text: bool = True) -> dict:
    """Give a file's sha256, its bytes and (for text) its characters.

    Bytes and digest are of what stands in the file, decompressed where it is
    gzip. The result is kept in the cache and believed as long as the file has
    the same path, size and time of change, so that a big file is read once.

    Raises:
        UserError: the file is empty, cannot be read or, with text, not UTF-8.
    """
    with reading(path):
        stat = path.stat()
    known = {"path": str(path.resolve()), "size": stat.st_size, "text": text}
    known["changed"] = stat.st_mtime_ns
    name = hashlib.sha256(str(known["path"]).encode()).hexdigest()[:20]
    record = cache / "digests" / f"{name}-{'text' if text else 'bytes'}.json"
    try:
        kept = json.loads(record.read_text())
        if kept["of"] == known:
            return kept["measure"]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # Not there, or no longer readable: it is made again.
    result = _measure(path, text)
    write_json(record, {"of": known, "measure": result})
    return result


def _measure(path: Path, text: bool) -> dict:
    digest, size = hashlib.sha256(), 0

    def watch(block: bytes) -> None:
        nonlocal size
        digest.update(block)
        size += len(block)

    result: dict[str, str | int] = {}
    if text:
        result["characters"] = sum(map(len, blocks(path, watch)))
    else:
        deque(map(watch, _binary_blocks(path)), maxlen=0)
    if size == 0:
        raise UserError(f"{path} is empty: there is no text to learn from.")
    return {"sha256": digest.hexdigest(), "bytes": size, **result}


def list_files(folder: Path) -> list[Path]:
    """List the files below a folder by name, without hidden ones."""
    with reading(folder):
        found = [
            Path(parent, name) for parent, _, names in os.walk(folder) for name in names
        ]
    return sorted(
        path
        for path in found
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
