"""Files that are written whole, and one message where they can't be."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lm_jax.errors import UserError

# What the file system refuses for a reason that the user can change.
_REMEDIES = {
    errno.ENOSPC: "the disk is full: make room and start again",
    errno.EDQUOT: "the disk quota is used up: make room and start again",
    errno.EROFS: "the file system is read-only: choose another directory",
    errno.EACCES: "permission denied: choose a directory that you may write",
    errno.EPERM: "permission denied: choose a directory that you may write",
    errno.EISDIR: "a directory is in the way: move it away",
    errno.ENOTDIR: "a file is in the way of a directory: move it away",
    errno.EEXIST: "a file is in the way of a directory: move it away",
    errno.ENOENT: "its directory does not exist: make it first",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the file system refuses inside into one message about `path`.

    Raises:
        UserError: for a full disk, a read-only place, something in the way.
            Other errors pass as they are.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _REMEDIES:
            raise
        remedy = _REMEDIES[error.errno]
        raise UserError(f"Cannot write {path}: {remedy}.") from error


def atomic_write(path: Path, content: str | bytes) -> None:
    """Write a whole file or leave the one that stood there.

    The content goes to a temporary name beside `path`, reaches the disk, and
    takes the name in one move. Text is written as UTF-8.

    Raises:
        UserError: where `path` cannot be written.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
