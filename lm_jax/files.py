"""Files and folders that are written whole, and one message where they can't be."""

import errno
import fcntl
import json
import os
import re
import shutil
import unicodedata
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lm_jax.errors import UserError

# What the file system refuses for a reason that the user can change.
_NO_ROOM = {
    errno.ENOSPC: "the disk is full: make room and start again",
    errno.EDQUOT: "the disk quota is used up: make room and start again",
    errno.EFBIG: "the file is too large for this disk: choose another directory",
    errno.EROFS: "the file system is read-only: choose another directory",
    errno.EACCES: "permission denied: choose a directory that you may write",
    errno.EPERM: "permission denied: choose a directory that you may write",
}
_NO_PLACE = {
    errno.EISDIR: "a directory is in the way: move it away",
    errno.ENOTDIR: "a file is in the way of a directory: move it away",
    errno.EEXIST: "a file is in the way of a directory: move it away",
    errno.ENOENT: "its directory does not exist: make it first",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
}

# Some network file systems have no locks.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
# Sticks and mounted clouds have no second names of a file; FAT says EPERM.
_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK)


def near(path: Path | str) -> Path:
    """Give a path as it is seen from the working directory, if it lies below it."""
    path, here = Path(path), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def given_path(given: str | Path, what: str) -> Path:
    """Read a path that a user gave; `~` is a home, as a shell has it.

    Args:
        given: the path, perhaps in quotes that kept it from the shell.
        what: the flag or field that it was given by, for the message.

    Raises:
        UserError: it is empty, has characters that no file should be called by or
            that are not UTF-8, or begins with the home of nobody.
    """
    text = str(given)
    if not text.strip():
        raise UserError(f"{what} is empty: give a path ('.' is where you are).")
    kinds = {unicodedata.category(character): character for character in text}
    for kind in ("Cc", "Cs", "Zl", "Zp"):
        if kind in kinds:
            what_is = "not UTF-8" if kind == "Cs" else "a line end or control character"
            raise UserError(
                f"{what} {ascii(text)}: {ascii(kinds[kind])} is {what_is}. Choose "
                "another name, or rename it."
            )
    if any(len(part.encode()) > 255 for part in Path(text).parts):
        raise UserError(f"{what} {text}: the name is too long: choose a shorter one.")
    expanded = os.path.expanduser(text)
    if expanded.startswith("~"):
        raise UserError(
            f"{what} '{text}': nobody's home is '{Path(text).parts[0]}'. For a folder "
            f"of that name write './{text}'."
        )
    return Path(expanded)


def neighbour(path: Path) -> str:
    """Say which path is named most like one that isn't there; "" where none is."""
    here = Path()
    if path.exists():
        return ""
    for part in path.parts:
        if not (here / part).exists():
            try:
                names = sorted(entry.name for entry in here.iterdir())
            except OSError:
                return ""
            close = get_close_matches(part, names[:10_000], n=1, cutoff=0.6)
            if not close:
                return ""
            part = close[0]
        here /= part
    return f" Did you mean '{here}'?"


def check_new(folder: Path, what: str) -> None:
    """See that a directory is not there yet, or empty.

    Raises:
        UserError: it holds something.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(
            f"{what} {near(folder)} is there already. Give a new directory."
        )


def refused(error: OSError) -> str:
    """Say what the file system refuses for a reason that the user can change.

    Of what nobody foresaw, wherever it arose; "" where the fault may be ours.
    """
    if error.errno not in {*_NO_ROOM, *_NO_PLACE} - {errno.EEXIST, errno.ENOENT}:
        return ""
    named = f"{os.fsdecode(error.filename)}: " if error.filename else ""
    return f"{named}{error.strerror}."


def read_whole(path: Path) -> bytes:
    """Read a file.

    Raises:
        UserError: it can't be read. FileNotFoundError passes.
    """
    with reading(path):
        return path.read_bytes()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the system says of a file that can't be read into one message.

    Raises:
        UserError: it can't be read. FileNotFoundError passes.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}.") from error


@contextmanager
def _explained(path: Path, remedies: dict[int, str]) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        remedy = remedies.get(_code(error))
        if remedy is None:
            raise
        raise UserError(f"Cannot write {path}: {remedy}.") from error


def _code(error: Exception) -> int:
    """What the system refused: libraries in Rust say it in their text alone."""
    found = re.search(r"\(os error (\d+)\)", str(error))
    return getattr(error, "errno", None) or int(found[1] if found else 0)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the file system refuses inside into one message about `path`.

    Raises:
        UserError: for a full disk, a read-only place, something in the way.
            Other errors pass as they are.
    """
    with _explained(path, _NO_ROOM | _NO_PLACE):
        yield


@contextmanager
def filling(folder: Path) -> Iterator[None]:
    """Do as `writing` where other files are read inside, which may be missing.

    Raises:
        UserError: for a full disk or a read-only place. Other errors pass as
            they are: they need not be about `folder`.
    """
    with _explained(folder, _NO_ROOM):
        yield


def atomic_write(path: Path, content: str | bytes) -> None:
    """Write a whole file or leave the one that stood there.

    The content goes to a temporary name beside `path`, reaches the disk, and
    takes the name in one move. Text is written as UTF-8, and what UTF-8 lacks (a
    byte of a name in another encoding) as an escape that JSON reads back.

    Raises:
        UserError: where `path` cannot be written.
    """
    with writing(path), _written_beside(path, content) as temporary:
        os.replace(temporary, path)


def save_array(path: Path, array: Any) -> None:
    """Write an array as `numpy.save` does, and say where the disk takes less of it.

    Given a file, NumPy writes past Python and drops what closing it says: the end of
    an array is lost in silence.

    Raises:
        UserError: where `path` cannot be written.
    """
    import numpy as np  # a tenth of a second, of commands that save none

    with writing(path), path.open("wb") as file:
        np.save(SimpleNamespace(write=file.write), array)  # type: ignore[arg-type]


@contextmanager
def _written_beside(path: Path, content: str | bytes) -> Iterator[Path]:
    """Give a whole file of another name; nothing is left of that name."""
    if isinstance(content, str):
        content = content.encode("utf-8", "backslashreplace")
    temporary = _temporary(path)
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary name beside a file that takes its place when all went well.

    Raises:
        UserError: where `path` cannot be written; nothing is left of it.
    """
    temporary = _temporary(path)
    try:
        with writing(path), _named(path, temporary):
            yield temporary
            os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()


def exclusive_write(path: Path, content: str) -> bool:
    """Write a whole file where there is none: of several processes, one does.

    Returns:
        Whether it was this one; what another wrote stays.

    Raises:
        UserError: where `path` cannot be written.
    """
    if path.exists():  # perhaps where nothing can be written
        return False
    with (
        writing(path),
        _written_beside(path, content) as temporary,
        suppress(FileExistsError),
    ):
        try:
            os.link(temporary, path)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # The name is taken first, by one of all, and then filled whole.
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            os.replace(temporary, path)
        return True
    return False


def write_json(path: Path, value: object) -> None:
    """Write a JSON file as `atomic_write` does, and the folders above it.

    Raises:
        UserError: where `path` cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, json.dumps(value, indent=1))


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary folder that takes its place when all went well.

    A folder that another process put there meanwhile stays: it holds the same.

    Raises:
        UserError: where `folder` cannot be written; nothing is left of it.
    """
    temporary = _temporary(folder)
    with filling(folder), _named(folder, temporary):
        try:
            with writing(folder):
                temporary.mkdir(parents=True)
            yield temporary
            try:
                os.rename(temporary, folder)
            except OSError:
                if not folder.is_dir():
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


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
            with whole_folder(folder) as temporary:
                yield temporary
            return
        if claimed is None:
            yield None
            return
        path, lock = claimed
        try:
            with _named(folder, path):
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
        lock = os.open(path, os.O_RDONLY)
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


@contextmanager
def _named(path: Path, temporary: Path) -> Iterator[None]:
    """Say of a path what is said inside of the name that stands in for it."""
    try:
        yield
    except UserError as error:
        said = str(error).replace(str(temporary), str(path))
        raise type(error)(said) from error


def _temporary(path: Path) -> Path:
    """Give a hidden name beside a path that no other process takes."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
