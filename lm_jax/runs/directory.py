"""A run is a directory: `runs/<experiment>/<variant>/seed<k>/`."""

import difflib
import fcntl
import json
import os
import re
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lm_jax.errors import UserError
from lm_jax.files import NO_LOCKS, atomic_write, near, neighbour, writing
from lm_jax.streams import spelled

NOT_TRAINED = "was imported, quantized or merged: it has no result of a training"
"""What is said of a run that `is_given`."""
STOPPED = "stopped"
"""File of a run whose training was told to stop: what a scheduler's job asks for."""


@contextmanager
def open_run(path: Path, what: str = "run") -> Iterator[Path]:
    """Make a run directory, or enter one, and keep other processes out.

    The lock is advisory (`flock` on `<run>/.lock`) and ends with the process
    that holds it, however that ends. The file says who holds it.

    Args:
        path: of the directory.
        what: it is of, for the message.

    Raises:
        UserError: where the directory cannot be made or written, and where
            another process has it open.
    """
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _lock_or_refuse(lock, path, what)
        yield path
    finally:
        os.close(lock)


def in_use(run: Path) -> bool | None:
    """Whether a process trains a run now; None where that can't be told."""
    try:
        lock = os.open(run / ".lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(lock)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a file while inside; wait for another process that holds it.

    For what is read, changed and written again in a moment. The lock is a hidden file
    beside it, which stays.

    Raises:
        UserError: nothing can be written there.
    """
    with writing(path):
        beside = path.with_name(f".{path.stem}.lock")
        lock = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        yield
    finally:
        os.close(lock)


def _lock_or_refuse(lock: int, path: Path, what: str) -> None:
    """Take the lock and write the holder's name into it."""
    try:
        _try_lock(lock)
    except BlockingIOError:
        holder = os.pread(lock, 200, 0).decode("utf-8", "replace").strip()
        raise UserError(
            f"The {what} {path} is in use by {holder or 'another process'}. "
            "Wait for it to end or stop it; nothing was changed."
        ) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        warnings.warn(
            f"The file system of {path} has no locks: see to it that only one "
            f"process has this {what}.",
            stacklevel=4,
        )
    holder = f"process {os.getpid()} on {socket.gethostname()}\n"
    with writing(path):
        os.ftruncate(lock, 0)
        os.pwrite(lock, holder.encode(), 0)


def _try_lock(lock: int) -> None:
    """Take a lock; who only looks whether it is taken holds it for a moment.

    Raises:
        BlockingIOError: another process holds it.
    """
    for wait in (0.02, 0.1, 0.0):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not wait:
                raise
            time.sleep(wait)


def mark_stopped(run: Path, step: int | None) -> None:
    """Write down that a run was told to stop before its end; None: it goes on.

    Its result can't tell: a run that is made longer has that of its shorter end.

    Raises:
        UserError: the file can't be written or removed.
    """
    if step is not None:
        atomic_write(run / STOPPED, f"at step {step}, to go on\n")
        return
    with writing(run / STOPPED):
        (run / STOPPED).unlink(missing_ok=True)


def is_given(run: Path) -> bool:
    """Whether what a run holds was imported, quantized or merged: not trained there.

    Training opens metrics.jsonl before it saves its first checkpoint.
    """
    if (run / "metrics.jsonl").exists() or (run / "result.json").exists():
        return False
    if any(path.name.isdigit() for path in run.glob("checkpoints/*")):
        return True
    try:
        return '"lm_jax.counting.Given"' in (run / "experiment.json").read_text("utf-8")
    except (OSError, ValueError):
        return False


def runs_below(root: Path) -> list[Path]:
    """All runs at or below a directory, sorted: those with experiment.json."""
    return folders_with("experiment.json", root)


def folders_with(name: str, root: Path) -> list[Path]:
    """All folders at or below a directory that have such a file, sorted.

    Links to folders are followed, each folder is looked at once, and none inside one
    that has the file: no run lies inside a run, but many files of checkpoints do.
    """
    found, seen = [], set()
    for folder, below, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if name in files and real not in seen:
            found.append(Path(folder))
        if name in files or real in seen:
            below.clear()
        below.sort()
        seen.add(real)
    return sorted(found)


def title_of(run: Path) -> str:
    """What a run is called where it is shown: "gpt/base/seed0".

    One that lies elsewhere than runs do is called by its path from here, or by its own
    name; the folders above it are nobody's business.
    """
    run = run.absolute()
    if re.fullmatch(r"seed\d+", run.name):
        return spelled("/".join(run.parts[-3:]))
    seen = near(run)
    return spelled(run.name if seen.is_absolute() else seen)


def experiment_json(run: Path) -> dict[str, Any]:
    """A run's experiment.json as it lies: its "experiment", and about its own "file".

    For who looks at a field or two: nothing is executed, as a user's classes would be
    where `lm_jax.experiment.read` makes the experiment of it.

    Raises:
        UserError: it can't be read, or is no such file.
    """
    path = run / "experiment.json"
    try:
        document = dict(json.loads(path.read_text("utf-8")).items())
        return document | {"experiment": dict(document["experiment"].items())}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} can't be read: {error}.") from error


def seed_of(run: Path) -> int | None:
    """The seed that a run's experiment.json has; None where it can't be read."""
    with suppress(UserError):
        return experiment_json(run)["experiment"].get("seed")
    return None


def find_run(path: Path) -> Path:
    """The run that a path means.

    Args:
        path: a run, a file or directory inside a run, or a directory with
            exactly one run below it.

    Raises:
        UserError: if it means none or several; lists the runs there are,
            nearest names first.
    """
    if not path.exists():
        raise UserError(
            f"There is no {path}.{neighbour(path)}"
            f"{_list_runs(runs_below(Path('runs')), path)}"
        )
    for folder in (path, *path.absolute().parents):
        if (folder / "experiment.json").is_file():
            return folder
    below = runs_below(path)
    if len(below) == 1:
        return below[0]
    if below:
        raise UserError(f"{path} has several runs: name one.{_list_runs(below, path)}")
    raise UserError(f"{path} is no run.{_list_runs(runs_below(Path('runs')), path)}")


def _list_runs(runs: list[Path], wanted: Path, most: int = 10) -> str:
    """One run a line, those named most like the wanted one first."""
    if not runs:
        return " There are no runs below runs/ yet: train one first."

    def likeness(run: Path) -> float:
        return difflib.SequenceMatcher(None, str(run), str(wanted)).ratio()

    nearest = sorted(runs, key=likeness, reverse=True)
    more = [f"and {len(runs) - most} more"] if len(runs) > most else []
    return "\n  ".join([" There is:", *map(str, nearest[:most]), *more])
