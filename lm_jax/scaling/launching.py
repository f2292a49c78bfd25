"""All processes of a run on this machine, and what becomes of them."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from lm_jax.files import writing
from lm_jax.processes import how_ended, start
from lm_jax.runs.display import Display
from lm_jax.scaling.gpus import dealt, visible
from lm_jax.scaling.place import Place

_DEVICES = re.compile(r"--xla_force_host_platform_device_count=(\d+)")
_PAUSE = 0.1  # seconds between two looks at the processes
_GRACE = 10.0  # seconds that the others have to end by themselves, once one failed


def log_of(run: Path, process: int) -> Path:
    """Where the words of a process lie; those of the first are in the terminal."""
    return run / f"process_{process}.log"


def local_places(place: Place) -> list[Place]:
    """The places of all processes, at a port of this machine that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    return [
        replace(place, process=process, coordinator=coordinator)
        for process in range(place.processes)
    ]


def words_of(place: Place, words: list[str]) -> list[str]:
    """The command of one process: what was typed, and its place."""
    return [
        *words,
        *("--processes", str(place.processes), "--process", str(place.process)),
        *("--coordinator", place.coordinator, "--timeout", f"{place.timeout:g}"),
    ]


def variables_of(place: Place, variables: Mapping[str, str]) -> dict[str, str]:
    """What of its environment is another in one process: its share of the devices.

    GPUs are dealt out; of virtual CPU devices, each gets its share, or one.

    Raises:
        UserError: GPUs can't be dealt out alike, as a batch must be.
    """
    assert place.process is not None
    if gpus := visible(variables):
        own = dealt(gpus, place.process, place.processes)
        return {"CUDA_VISIBLE_DEVICES": ",".join(own)}
    flags = variables.get("XLA_FLAGS", "")
    forced = _DEVICES.search(flags)
    asked = variables.get("JAX_NUM_CPU_DEVICES") or (forced[1] if forced else "1")
    share = max(1, int(asked) // place.processes)
    changed = {"JAX_NUM_CPU_DEVICES": str(share)}
    return changed | ({"XLA_FLAGS": _DEVICES.sub("", flags)} if forced else {})


def described(place: Place, words: list[str], run: Path) -> list[str]:
    """What would be run, a line each, as it can be typed."""
    if place.processes == 1:
        return [shlex.join([sys.executable, "-m", "lm_jax", *words])]
    lines = []
    for each in local_places(place):
        changed = variables_of(each, os.environ)
        before = " ".join(f"{k}={shlex.quote(v)}" for k, v in changed.items())
        command = shlex.join([sys.executable, "-m", "lm_jax", *words_of(each, words)])
        log = f" > {shlex.quote(str(log_of(run, each.process or 0)))} 2>&1"
        lines.append(f"{before} {command}{log if each.process else ''} &".lstrip())
    return [f"mkdir -p {shlex.quote(str(run))}", *lines, "wait"]


def launch(place: Place, words: list[str], run: Path) -> int:
    """Start all processes of a run here, and wait for them.

    SIGINT, SIGTERM and SIGHUP are handed on: all of them save, and end.

    Args:
        place: how many, and how long a wait may take.
        words: the command that each of them does.
        run: its directory, which gets their words.

    Returns:
        A status for the shell: the first that isn't 0, or 130 for SIGINT.
    """
    places = [(p, variables_of(p, os.environ)) for p in local_places(place)]
    with ExitStack() as stack:
        with writing(run):
            run.mkdir(parents=True, exist_ok=True)
        started = []
        for each, variables in places:
            words_here = words_of(each, words)
            log = None
            if each.process:
                path = log_of(run, each.process)
                log = stack.enter_context(path.open("ab"))
            started.append(
                start(
                    "lm_jax",
                    words_here,
                    stdout=log,
                    stderr=log,
                    variables=variables,
                    apart=True,
                )
            )
        with _HandedOn(started) as handed:
            failed = _wait(started)
        if failed is not None:
            _tell(failed, started[failed].returncode, run)
            status: int = started[failed].returncode
            return status if status > 0 else 1
        return 130 if handed.received == signal.SIGINT else 0


def _wait(started: list[subprocess.Popen]) -> int | None:
    """Wait for all; where one fails, end the others. Returns the first that did."""
    failed, end = None, float("inf")
    while any(process.poll() is None for process in started):
        bad = [k for k, p in enumerate(started) if p.poll() not in (None, 0)]
        if bad and failed is None:
            failed, end = bad[0], time.monotonic() + _GRACE
        if time.monotonic() > end:
            for process in started:
                process.kill()
        time.sleep(_PAUSE)
    bad = [k for k, p in enumerate(started) if p.returncode != 0]
    return failed if failed is not None else next(iter(bad), None)


def _tell(process: int, status: int, run: Path) -> None:
    """Say which process ended first, and what it said."""
    log = log_of(run, process)
    said = log.read_text("utf-8", "replace") if process else ""
    where = f" All that it said: {log}." if process else ""
    how = how_ended(status, said) if process else f"It ended with status {status}."
    Display(0, sys.stderr).message(
        f"Process {process} ended first, and not well. {how}{where}"
    )


class _HandedOn:
    """Hands signals on to processes, as one that asks them to save and end."""

    def __init__(self, processes: list[subprocess.Popen]):
        self.received: int | None = None
        self._processes = processes
        self._before: dict[int, object] = {}

    def __enter__(self) -> "_HandedOn":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._hand_on)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _hand_on(self, number: int, _: object) -> None:
        # A second one doesn't wait for what is saved.
        kill = self.received is not None and number != signal.SIGHUP
        self.received = self.received or number
        for process in self._processes:
            process.kill() if kill else process.terminate()
