"""Files that are written whole, and one message where they can't be."""

import errno
import json
import os
import re
import signal
import stat
import threading
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
    errno.EPIPE: "what reads it has ended: start both again",
}

# What it has no more of, or has lost: no fault of ours wherever it arises.
_NO_MORE = {
    errno.EMFILE: " Let a process open more of them: ulimit -n 4096.",
    errno.ENFILE: " Others have opened too many on this machine.",
    errno.ENOMEM: " Other processes may have taken it.",
    errno.EIO: " The disk, or the network to it, fails.",
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


def refused(error: OSError) -> str:
    """Say what the file system refuses for a reason that the user can change.

    Of what nobody foresaw, wherever it arose; "" where the fault may be ours.
    """
    known = {*_NO_ROOM, *_NO_PLACE, *_NO_MORE} - {errno.EEXIST, errno.ENOENT}
    if error.errno not in known:
        return ""
    named = f"{os.fsdecode(error.filename)}: " if error.filename else ""
    return f"{named}{error.strerror}.{_NO_MORE.get(error.errno, '')}"


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
    takes the name in one move; where that is a link, the name that it leads to. A
    device or a pipe is written to. Text is written as UTF-8, and what UTF-8 lacks (a
    byte of a name in another encoding) as an escape that JSON reads back.

    Raises:
        UserError: where `path` cannot be written.
    """
    with writing(path):
        if _is_stream(path):
            with path.open("ab") as stream:
                stream.write(_utf8(content))
            return
        place = Path(os.path.realpath(path))
        with _written_beside(place, content) as temporary:
            os.replace(temporary, place)


def _utf8(content: str | bytes) -> bytes:
    return (
        content
        if isinstance(content, bytes)
        else content.encode("utf-8", "backslashreplace")
    )


def _is_stream(path: Path) -> bool:
    """Whether a name is of a device, a pipe or an open file: of nothing to replace."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    opened = str(path).startswith(("/dev/std", "/dev/fd/", "/proc/"))
    return opened or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


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
    with _removed(temporary_name(path)) as temporary:
        with open(temporary, "wb") as file:
            file.write(_utf8(content))
            file.flush()
            os.fsync(file.fileno())
        yield temporary


@contextmanager
def _removed(temporary: Path) -> Iterator[Path]:
    """Remove a file, if it is there, however what is inside ends."""
    try:
        yield temporary
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def undone() -> Iterator[None]:
    """Let SIGTERM, and a terminal that hangs up, leave nothing half written inside.

    They end it as Ctrl-C does, by what is raised, and then the process as if nobody
    had listened. Who listens already goes on listening.
    """
    received: list[int] = []

    def end(number: int, _: object) -> None:
        received.append(number)
        signal.signal(number, signal.SIG_DFL)
        raise SystemExit(128 + number)

    main = threading.current_thread() is threading.main_thread()
    both = (signal.SIGTERM, signal.SIGHUP) if main else ()
    free = [each for each in both if _is_free(each)]
    try:
        for each in free:
            signal.signal(each, end)
        yield
    finally:
        for each in free:
            signal.signal(each, signal.SIG_DFL)
        for number in received:
            os.kill(os.getpid(), number)


def _is_free(number: int) -> bool:
    """Whether nobody listens to a signal: jax does in C, and Python can't tell."""
    if signal.getsignal(number) is not signal.SIG_DFL:
        return False
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:  # macOS
        return True
    caught = re.search(r"^SigCgt:\s*(\w+)", status, re.MULTILINE)
    return caught is None or not int(caught[1], 16) >> (number - 1) & 1


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary name beside a file that takes its place when all went well.

    Raises:
        UserError: where `path` cannot be written; nothing is left of it.
    """
    with (
        undone(),
        _removed(temporary_name(path)) as temporary,
        writing(path),
        said_of(path, temporary),
    ):
        yield temporary
        os.replace(temporary, path)


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
def said_of(path: Path, temporary: Path) -> Iterator[None]:
    """Say of a path what is said inside of the name that stands in for it."""
    try:
        yield
    except UserError as error:
        said = str(error).replace(str(temporary), str(path))
        raise type(error)(said) from error


def temporary_name(path: Path) -> Path:
    """Give a hidden name beside a path that no other process takes."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
