"""Trainings that are killed at random moments, beside one that never was."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

import lm_jax
from lm_jax.bench.phases import phase_of
from lm_jax.runs.metrics import read_metrics
from lm_jax.runs.model import NGRAM, load_model
from lm_jax.runs.result import read_result
from lm_jax.selectors import path_name

FILE = Path(__file__).with_name("small_families.py")
# A training that says where it is when it is asked by SIGUSR1.
_CHILD = """
import faulthandler, runpy, signal, sys
faulthandler.register(signal.SIGUSR1, open(sys.argv.pop(1), "w"))
runpy.run_module("lm_jax", run_name="__main__", alter_sys=True)
"""
_STACK_SECONDS = 0.05  # at most, until a stack is written
# How fast a step was is another each time.
_TIMED = ("tokens_per_second", "data_wait", "seconds")
_SAME = ("scores", "best", "steps", "tokens", "parameters")


class Failed(Exception):
    """A training that was killed before did not go on."""


@dataclass(frozen=True)
class Kill:
    """Where a training was killed: seconds after its start, and what it did."""

    after: float
    phase: str


@dataclass
class Trial:
    """A training, killed and started again until it ended.

    Attributes:
        cold: whether nothing was compiled and no text was read before it.
        kills: in order; it was started once more than that.
        compared: values that were compared with the reference.
        differences: what was not the same, in words.
    """

    cold: bool
    kills: list[Kill] = field(default_factory=list)
    compared: int = 0
    differences: list[str] = field(default_factory=list)


@dataclass
class Family:
    """A family's training that was never killed, and those that are.

    Args:
        name: variant of `small_families.py`.
        folder: for its runs and caches.
        more: arguments of every training.
    """

    name: str
    folder: Path
    more: tuple[str, ...] = ()
    seconds: dict[bool, float] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)

    def measure(self) -> None:
        """Train without a kill, cold and then warm: how long it takes, and the same.

        Raises:
            Failed: when it doesn't end well, or the second differs.
        """
        self.folder.mkdir(parents=True)
        for cold in (True, False):
            run = self.folder / ("reference" if cold else "again")
            begin = time.monotonic()
            if self._start(run, self.folder).wait():
                raise Failed(f"{self.name}, never killed: {_said(run)}")
            self.seconds[cold] = time.monotonic() - begin
        if unlike := self.compare(run)[1]:
            raise Failed(f"{self.name} differs from itself without a kill: {unlike}")

    def kill(self, most: int, draw: random.Random) -> Iterator[Kill]:
        """Kill trainings until there were so many kills; give each as it falls.

        Each training begins anew and ends: after the last kill, undisturbed. One in
        three begins with nothing compiled.

        Raises:
            Failed: when one can't go on.
        """
        while most > 0:
            number = len(self.trials)
            trial = Trial(cold=number % 3 == 0)
            self.trials.append(trial)
            run = self.folder / f"killed{number}"
            place = self.folder / f"place{number}" if trial.cold else self.folder
            place.mkdir(exist_ok=True)
            for kill in self._until_it_ends(run, place, trial.cold, most, draw):
                trial.kills.append(kill)
                most -= 1
                yield kill
            trial.compared, trial.differences = self.compare(run)

    def _until_it_ends(
        self, run: Path, place: Path, cold: bool, most: int, draw: random.Random
    ) -> Iterator[Kill]:
        """Start a training again and again; give the kills on the way."""
        for attempt in range(most + 1):
            process = self._start(run, place)
            moment = draw.uniform(0, self.seconds[cold and attempt == 0])
            try:
                code = process.wait(moment if attempt < most else None)
            except subprocess.TimeoutExpired:
                code = _asked_and_killed(process, _stack_of(run))
            if code == 0:
                return
            if code > 0:
                raise Failed(f"{run}, start {attempt + 1}: {_said(run)}")
            yield Kill(moment, phase_of(_read(_stack_of(run))))

    def _start(self, run: Path, place: Path) -> subprocess.Popen:
        """Start or go on with a training; its caches lie where it runs."""
        _stack_of(run).unlink(missing_ok=True)
        arguments = ["train", f"{FILE}:{self.name}", "--run", str(run), *self.more]
        # Sums on a GPU have no fixed order: nothing would come out bit for bit.
        environment = os.environ | {"JAX_PLATFORMS": "cpu"}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        root = Path(lm_jax.__path__[0]).parent
        path = [str(root), *filter(None, [environment.get("PYTHONPATH")])]
        with run.with_suffix(".log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-P", "-c", _CHILD, str(_stack_of(run)), *arguments],
                env=environment | {"PYTHONPATH": os.pathsep.join(path)},
                cwd=place,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def compare(self, run: Path) -> tuple[int, list[str]]:
        """Compare a run with the reference: how many values, and which differ."""
        wanted = dict(_values(self.folder / "reference"))
        found = dict(_values(run))
        names = [*wanted, *(name for name in found if name not in wanted)]
        unlike = [name for name in names if found.get(name) != wanted.get(name)]
        return len(names), unlike


def _values(run: Path) -> Iterator[tuple[str, Any]]:
    """Every value that must come out the same to the bit, by a name."""
    if (run / "metrics.jsonl").exists():
        for place, row in enumerate(read_metrics(run / "metrics.jsonl")):
            for name, value in row.items():
                if name not in _TIMED:
                    # As written: NaN is itself, and 0.0 is not -0.0.
                    yield f"line {place + 1}, step {row['step']}, {name}", repr(value)
    if (run / "samples.txt").exists():
        yield "samples.txt", (run / "samples.txt").read_bytes()
    result = read_result(run)
    for name in _SAME:
        yield f"result.json, {name}", repr(result[name])
    for name, array in _parameters(run, result["steps"]):
        yield f"parameters, {name}", (array.dtype, array.shape, array.tobytes())


def _parameters(run: Path, step: int) -> Iterator[tuple[str, np.ndarray]]:
    if (run / NGRAM).exists():
        for file in sorted((run / NGRAM).glob("*.npy")):
            yield file.name, np.load(file)
        return
    model: Any = load_model(run, step)
    for path, leaf in jax.tree_util.tree_leaves_with_path(model.params):
        yield path_name(path), np.asarray(leaf)


def _stack_of(run: Path) -> Path:
    return run.with_suffix(".stack")


def _said(run: Path) -> str:
    """The end of what a training printed."""
    return run.with_suffix(".log").read_text("utf-8", "replace")[-2000:]


def _asked_and_killed(process: subprocess.Popen, stack: Path) -> int:
    """Ask a training where it is, and kill it; how it ended, perhaps before that."""
    if stack.exists():  # it listens
        process.send_signal(signal.SIGUSR1)
        until = time.monotonic() + _STACK_SECONDS
        while "lm_jax/__main__.py" not in _read(stack) and time.monotonic() < until:
            time.sleep(0.001)
    process.kill()
    return process.wait()


def _read(stack: Path) -> str:
    return stack.read_text("utf-8", "replace") if stack.exists() else ""
