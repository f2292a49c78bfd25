"""Files as streams of bytes: decompressed by their name, refused with what they are."""

import gzip
import io
import stat
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lm_jax.errors import UserError

# What a file begins with, what it is then and what to do.
_SIGNS = {
    b"\x1f\x8b": "compressed by gzip: let its name end in .gz",
    b"BZh": "compressed by bzip2: let its name end in .bz2",
    b"\xfd7zXZ\x00": "compressed by xz: let its name end in .xz",
    b"\x28\xb5\x2f\xfd": "compressed by Zstandard: let its name end in .zst",
    b"PK\x03\x04": "a zip archive, or a document of an office program: unpack it and "
    "give the file or folder, or save it as plain text",
    b"7z\xbc\xaf": "a 7z archive: unpack it and give the file or folder",
    b"Rar!": "a rar archive: unpack it and give the file or folder",
    b"\x04\x22\x4d\x18": "compressed by LZ4: decompress it first (lz4 -d)",
    b"\xd0\xcf\x11\xe0": "a document of an office program: save it as plain text",
    b"\x93NUMPY": "a NumPy array: ids are read from .bin files (array.tofile)",
    b"\x89HDF": "an HDF5 file: save its texts as jsonl or parquet",
    b"\x80\x04": "a pickle: save its texts as jsonl, or its ids as a .bin file",
    b"\x80\x05": "a pickle: save its texts as jsonl, or its ids as a .bin file",
    b"\x89PNG": "an image, and no text",
    b"\xff\xd8\xff": "an image, and no text",
    b"%PDF": "a PDF: extract its text first (for example with pdftotext)",
    b"PAR1": "a parquet file: let its name end in .parquet",
    b"ARROW1": "an arrow file: let its name end in .arrow",
    b"\xff\xfe": "UTF-16: convert it first (iconv -f UTF-16 -t UTF-8)",
    b"\xfe\xff": "UTF-16: convert it first (iconv -f UTF-16 -t UTF-8)",
}


def _gzip(path: Path) -> io.BufferedIOBase:
    return gzip.open(path)


def _bzip2(path: Path) -> io.BufferedIOBase:
    import bz2

    return bz2.open(path)


def _xz(path: Path) -> io.BufferedIOBase:
    import lzma

    return lzma.open(path)


def _zstandard(path: Path) -> io.BufferedIOBase:
    import pyarrow

    raw: Any = pyarrow.input_stream(path.open("rb"), compression="zstd")
    return io.BufferedReader(raw)


COMPRESSED: dict[str, Callable[[Path], io.BufferedIOBase]] = {
    ".gz": _gzip,
    ".bz2": _bzip2,
    ".xz": _xz,
    ".zst": _zstandard,
}


def plain_name(path: Path) -> str:
    """Give a file's name without what its compression added."""
    name, dot, end = path.name.rpartition(".")
    return name if f"{dot}{end.lower()}" in COMPRESSED and name else path.name


def suffix(path: Path) -> str:
    """Give the file's suffix in small letters, without .gz and the like after it."""
    return Path(plain_name(path)).suffix.lower()


def opened(path: Path) -> io.BufferedIOBase:
    """Open the bytes of a file, decompressed unless it is an archive.

    It is opened here by the system: a library that is given a path may take it for
    a pattern, for an address or for the key of a cache of its own.
    """
    if plain_name(path) == path.name or suffix(path) == ".tar":
        return path.open("rb")
    return COMPRESSED[path.suffix.lower()](path)


def check_regular(path: Path) -> None:
    """Refuse what is no file that can be read again and again.

    Raises:
        UserError: it is missing, a folder, a pipe or a device.
    """
    with reading(path):
        mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or device"
        raise UserError(
            f"{path} is no regular file but {kind}, and a text is read more than "
            "once. Save it to a file and give that."
        )


def what_it_is(path: Path) -> str:
    """Say what a file that is no UTF-8 is, by its first bytes, and what to do."""
    if suffix(path) == ".tar" or path.suffix.lower() in (".tgz", ".tar"):
        return "It is an archive: unpack it and give the folder."
    with reading(path), opened(path) as file:
        start = file.read(8)
    for sign, kind in _SIGNS.items():
        if start.startswith(sign):
            return f"It is {kind}."
    return "Convert the file to UTF-8 first (for example with iconv)."


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the ways in which reading a file fails into one message each."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError) as error:
        raise _damaged(path, error) from error
    except OSError as error:
        if error.errno is None:  # What a decompressor says, not the system.
            raise _damaged(path, error) from error
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    except Exception as error:
        # Importing lzma to name its one error would cost every start a little.
        if type(error).__name__ != "LZMAError":
            raise
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} is damaged: it cannot be decompressed ({error}).")
