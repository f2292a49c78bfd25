"""Folders that are written whole, or not at all."""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from lm_jax.errors import UserError
from lm_jax.files import (
    NO_LOCKS,
    filling,
    near,
    said_of,
    temporary_name,
    undone,
    writing,
)

_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{8}\.tmp")  # what `temporary_name` gives


def check_new(folder: Path, what: str) -> None:
    """See that a directory is not there yet, or empty.

    Raises:
        UserError: it holds something.
    """
    if folder.exists() and not (folder.is_dir() and _is_empty(folder)):
        raise UserError(
            f"{what} {near(folder)} is there already. Give a new directory."
        )


def _is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing, or only what a killed process was writing."""
    return all(_TEMPORARY.fullmatch(path.name) for path in folder.iterdir())


@contextmanager
def whole_folder(folder: Path, same: bool = False) -> Iterator[Path]:
    """Give a temporary folder that takes its place when all went well.

    An empty folder that is there stays what it is (a link, a mounted disk, the place
    where somebody's shell is) and is filled.

    Args:
        folder: where it is to stand.
        same: whether what another process has put there meanwhile is the same, and
            stays.

    Raises:
        UserError: where `folder` cannot be written, or another process has written
            it meanwhile; nothing is left of it.
    """
    place = Path(os.path.realpath(folder))
    inside = place.is_dir() and not same
    temporary = temporary_name(place / place.name if inside else place)
    ending = nullcontext() if same else undone()
    with ending, filling(folder), said_of(folder, temporary):
        try:
            with writing(folder):
                temporary.mkdir(parents=True)
            yield temporary
            if not (_moved_up if inside else _moved)(temporary, place) and not same:
                raise UserError(
                    f"{near(folder)} was written by another process meanwhile, and "
                    "stays as that left it. Give a new directory."
                )
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _moved(temporary: Path, place: Path) -> bool:
    """Give a folder its name; False where another one has it."""
    try:
        os.rename(temporary, place)
    except OSError:
        if not place.is_dir():
            raise
        return False
    return True


def _moved_up(temporary: Path, place: Path) -> bool:
    """Move all that is in a folder to the one around it; False where others are."""
    if not _is_empty(place):
        return False
    for path in sorted(temporary.iterdir()):
        os.rename(path, place / path.name)
    return True


@contextmanager
def resumed_folder(folder: Path) -> Iterator[Path | None]:
    """Give a temporary folder as `whole_folder` does, that outlives a killed process.

    What that one left is there again; an error leaves nothing. Of several processes
    one fills it, and the others wait: they are given None, for the folder is there.
    Where the file system has no locks, each has a folder of its own.

    Raises:
        UserError: as `whole_folder`.
    """
    with filling(folder):
        try:
            claimed = _claimed(folder)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            with whole_folder(folder, same=True) as temporary:
                yield temporary
            return
        if claimed is None:
            yield None
            return
        path, lock = claimed
        try:
            with said_of(folder, path):
                yield path
            os.rename(path, folder)
        except Exception:
            shutil.rmtree(path, ignore_errors=True)
            raise
        finally:
            os.close(lock)


def _claimed(folder: Path) -> tuple[Path, int] | None:
    """Wait for the folder that becomes another, alone; None where that is there.

    Raises:
        OSError: the file system has no locks, or something else is wrong.
    """
    path = folder.with_name(f".{folder.name}.part")
    while not folder.is_dir():
        with writing(folder):
            path.mkdir(parents=True, exist_ok=True)
        try:
            lock = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue  # just now it took its place, or failed
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Meanwhile it may have taken its place, or failed and be no more.
            if not folder.is_dir() and os.path.samestat(os.fstat(lock), path.stat()):
                return path, lock
        except FileNotFoundError:
            pass
        except OSError:
            os.close(lock)
            path.rmdir()
            raise
        os.close(lock)
    with suppress(OSError):  # made a moment after the other had taken its place
        path.rmdir()
    return None
