"""Start what a contest does in processes of their own, and see what became of it."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_jax.contest.worker import FAILED, MEASURED, STOPPED, WRONG
from lm_jax.errors import UserError
from lm_jax.files import writing
from lm_jax.processes import how_ended, last_line, start
from lm_jax.runs.directory import in_use
from lm_jax.runs.metrics import last_rows

_WORKER = "lm_jax.contest.worker"
_LOOK = 0.2  # seconds between two looks at a process


class Failed(Exception):
    """A run came to nothing by its own fault; the message says how."""


class Stopped(Exception):
    """The referee was told to stop; what ran is saved."""


@dataclass(frozen=True)
class Job:
    """A run that is due.

    Attributes:
        contest: its folder.
        proposal: whose frozen recipe it trains.
        seed: drawn by the referee.
        run: its directory.
        anew: whether a run that was broken off begins again: times of two parts are
            no time.
    """

    contest: Path
    proposal: int
    seed: int
    run: Path
    anew: bool


def launch(
    job: Job, told: Callable[[int], None], stopped: Callable[[], bool]
) -> dict[str, Any]:
    """Carry out a run in a process of its own; on with it, if it was broken off.

    Args:
        job: what to do.
        told: is told the step, now and then.
        stopped: whether to stop and save.

    Returns:
        What was measured, and "wall": the seconds from start to end of the process.

    Raises:
        Failed: the run came to nothing by its own fault.
        Stopped: it was to stop.
        UserError: something that isn't its fault.
    """
    while in_use(job.run):  # by what an earlier referee left behind: it is ending
        time.sleep(_LOOK)
    measured = job.run / MEASURED
    if not measured.exists():
        if job.anew and job.run.exists():
            _put_aside(job.run)
        with writing(job.run):
            job.run.parent.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        words = ["run", job.contest, job.proposal, job.seed, job.run]
        log = job.run.with_name(f"{job.run.name}.log")
        with writing(log), open(log, "ab") as file:
            before = file.tell()  # of earlier tries
            process = start(_WORKER, words, stderr=file, apart=True)
            status = _watch(process, job.run, told, stopped)
        _check(status, log, before)
        wall = time.monotonic() - began
        return json.loads(measured.read_text("utf-8")) | {"wall": wall}
    found = json.loads(measured.read_text("utf-8"))
    return found | {"wall": float(found["seconds"])}


def freeze(address: str, contest: Path, folder: Path) -> None:
    """Have a candidate's file executed and frozen, in a process of its own.

    Raises:
        UserError: it may not compete, or there is something wrong with it.
    """
    words = ["freeze", address, contest, folder]
    process = start(_WORKER, words, stderr=subprocess.PIPE, apart=True)
    _, said = process.communicate()
    text = said.decode("utf-8", "replace").strip()
    if process.returncode:
        last = text if process.returncode in (WRONG, FAILED) else last_line(text)
        raise UserError(last or f"{address} ended with {process.returncode}.")


def forget_checkpoints(run: Path) -> None:
    """Remove the checkpoints of a run that was scored; all else of it stays."""
    shutil.rmtree(run / "checkpoints", ignore_errors=True)


def _watch(
    process: subprocess.Popen,
    run: Path,
    told: Callable[[int], None],
    stopped: Callable[[], bool],
) -> int:
    """Wait for a process; have it save and stop if that is asked for.

    Raises:
        Stopped: it was.
    """
    while process.poll() is None:
        time.sleep(_LOOK)
        told(last_rows(run / "metrics.jsonl")[0].get("step", 0))
        if stopped():
            process.terminate()
            process.wait()
            raise Stopped
    return process.returncode


def _check(status: int, log: Path, before: int) -> None:
    """Say what a status means that isn't 0.

    Args:
        status: of the process.
        log: that it wrote to.
        before: bytes that were there when it began.

    Raises:
        Failed, Stopped, UserError: as `launch`.
    """
    if status == STOPPED:
        raise Stopped
    said = log.read_bytes()[before:].decode("utf-8", "replace").strip()
    if status == WRONG:
        raise UserError(said)
    if status == FAILED:
        raise Failed(said)
    if status:
        raise Failed(f"{how_ended(status, said)} ({log})")


def _put_aside(run: Path) -> None:
    """Give a run that was broken off another name."""
    number = 1
    while (aside := run.with_name(f"broken{number}-{run.name}")).exists():
        number += 1
    run.rename(aside)
