"""Arrays that may be larger than the memory: they lie in files without a name."""

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lm_jax.files import writing

# Entries of an array that is kept in memory, and of a piece that is worked on: what
# a processor's own cache holds several of.
_KEPT = 1 << 24
_PIECE = 1 << 16


@dataclass(frozen=True)
class Scratch:
    """Where large arrays lie while they are needed; nothing is left there."""

    folder: Path | None = None
    """None is the system's own folder for such files."""

    def array(self, size: int, dtype: Any = np.int64) -> np.ndarray:
        """Give an array to fill: in memory, or mapped from a file where it is large.

        The file has no name, so that it goes with the last use of the array, whatever
        becomes of the process.

        Raises:
            UserError: there is no room for it.
        """
        if size <= _KEPT:
            return np.empty(size, dtype)
        folder = self.folder or Path(tempfile.gettempdir())
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                _reserve(file.fileno(), size * np.dtype(dtype).itemsize)
                return np.asarray(np.memmap(file, dtype, "w+", shape=(size,)))


def _reserve(file: int, size: int) -> None:
    """Take the room of a file now: a disk that fills up later would kill the process.

    Raises:
        OSError: there is no room.
    """
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise


Progress = Callable[[str, int, int], None]
"""Called with a description, what is done and what there is in all."""
Told = Callable[[int], None]
"""Called with how much more is done."""


def telling(progress: Progress | None, description: str, total: int) -> Told:
    """Add up what is done and tell of it."""
    done = 0

    def told(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(description, done, total)

    return told


def pieces(size: int, pieces_each: int = 1) -> Iterator[slice]:
    """Cut an array of so many entries into parts, of a piece or several each."""
    for start in range(0, size, step := pieces_each * _PIECE):
        yield slice(start, min(start + step, size))
