"""Two libraries train the same models in turn, on the same machine."""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from lm_jax.bench.sizes import SIZES, Size

DTYPES = ("float32", "bfloat16")
TURN_SECONDS = 1.0
MOST_STEPS = 100


class Failed(Exception):
    """A side could not do what it was asked for, and lives on."""


class Side:
    """A library in a process of its own that computes only when asked.

    Args:
        library: what it is called in tables.
        name: of the worker's side: "jax", "torch".
        package: a folder with the lm_jax that it is of; None is this one.
    """

    def __init__(self, library: str, name: str, package: Path | None = None):
        command = [sys.executable, "-m", "lm_jax.bench.worker", name]
        # Both libraries on the processor, whatever else the machine has.
        environment = os.environ | {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
        self.library = library
        # Their warnings would break the table.
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=environment,
            text=True,
            cwd=package,
        )
        self.name, self.package = name, package
        described = self.ask("version")
        self.version: str = described["version"]
        self.modes: list[str] = described["modes"]

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Let the process do something and wait for its answer.

        Raises:
            Failed: when it can't.
            RuntimeError: when the process has died.
        """
        assert self.process.stdin and self.process.stdout
        request = json.dumps({"do": do} | arguments)
        print(request, file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            self.log.seek(0)
            said = self.log.read()[-2000:]
            raise RuntimeError(f"{self.library} ended with {code} at '{do}':\n{said}")
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(answer["error"])
        return answer

    def peak(self) -> float:
        """Bytes of memory that the process has had at most; for Linux alone.

        What it used by `wait4` would be as much at least as this process has.
        """
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
        return 1024.0 * int(kilobytes)

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()
        self.log.close()


@dataclass
class Timing:
    """What one mode of one library reached at one size.

    Attributes:
        steps: steps in a turn.
        seconds: a step took, one figure for each turn.
        loss: of the last step.
        memory: bytes that a process has at most which does this alone, if measured.
        error: why there are no figures, or None.
    """

    size: str
    library: str
    mode: str
    steps: int = 1
    seconds: list[float] = field(default_factory=list)
    loss: float = float("nan")
    memory: float | None = None
    error: str | None = None

    @property
    def median(self) -> float:
        """Median of the turns; infinite where there are none."""
        return statistics.median(self.seconds) if self.seconds else float("inf")


def rates(sides: list[Side]) -> dict[str, dict[str, float]]:
    """Operations a second of matrix products, by library and type."""
    measured: dict[str, dict[str, float]] = {side.library: {} for side in sides}
    for dtype in DTYPES:
        for side in sides:
            rate = side.ask("matrices", dtype=dtype)["rate"]
            measured[side.library][dtype] = rate
    return measured


def compare(
    sides: list[Side], size: str, rounds: int, say: Callable[[str], None]
) -> list[Timing]:
    """Train a size in every mode of every side in turn, `rounds` times over."""
    pairs = [
        (side, Timing(size, side.library, mode))
        for modes in zip_longest(*(side.modes for side in sides))
        for side, mode in zip(sides, modes, strict=True)
        if mode is not None
    ]
    for side in sides:
        say(f"{size}: preparing {side.library}")
        side.ask("prepare", size=size)
    for side, timing in pairs:
        say(f"{size}: compiling {timing.library} {timing.mode}")
        turn(side, timing)
        turn(side, timing)
        if timing.seconds:
            fit = int(TURN_SECONDS / timing.seconds[-1])
            timing.steps = max(1, min(MOST_STEPS, fit))
        timing.seconds.clear()
    for number in range(rounds):
        for side, timing in pairs:
            if timing.error is None:
                say(f"{size}: round {number + 1} of {rounds}, {timing.library}")
                turn(side, timing)
    return [timing for _, timing in pairs]


def measure_memory(sides: list[Side], timings: list[Timing]) -> None:
    """Note the memory of each mode, from a process of its own that makes two steps."""
    for timing in timings:
        if timing.error is None:
            (like,) = (side for side in sides if side.library == timing.library)
            alone = Side(like.library, like.name, like.package)
            try:
                alone.ask("prepare", size=timing.size)
                alone.ask("run", mode=timing.mode, steps=2)
                timing.memory = alone.peak()
            finally:
                alone.close()


def turn(side: Side, timing: Timing) -> None:
    """Let one mode train its number of steps, and note how long they took."""
    if timing.error is not None:
        return
    try:
        answer = side.ask("run", mode=timing.mode, steps=timing.steps)
    except Failed as failed:
        timing.error = str(failed)
    else:
        timing.seconds.append(answer["seconds"] / timing.steps)
        timing.loss = answer["loss"]


def rows(timings: list[Timing], measured: dict[str, dict[str, float]]) -> Iterator[str]:
    """A table of at most 80 columns."""
    yield (
        "size    library mode              ms/step (range)"
        "        tokens/s GFLOP/s share"
    )
    for timing in timings:
        start = f"{timing.size:7} {timing.library:7} {timing.mode:17}"
        if timing.error is not None:
            yield f"{start} {timing.error.splitlines()[0][:46]}"
            continue
        size: Size = SIZES[timing.size]
        ms = [
            1e3 * s for s in (timing.median, min(timing.seconds), max(timing.seconds))
        ]
        digits = 1 if ms[0] < 100 else 0
        middle, low, high = (f"{m:.{digits}f}" for m in ms)
        rate = size.flops / timing.median
        share = rate / measured[timing.library][timing.mode.split()[0]]
        spread = f"{middle} ({low}-{high})"
        yield (
            f"{start} {spread:20} {size.tokens / timing.median:>9,.0f}"
            f" {rate / 1e9:>7,.0f} {share:>5.0%}"
        )


def memory_rows(timings: list[Timing]) -> Iterator[str]:
    """A table of the memory that was measured."""
    yield "size    library mode              memory"
    for timing in timings:
        if timing.memory is not None:
            start = f"{timing.size:7} {timing.library:7} {timing.mode:17}"
            yield f"{start} {timing.memory / 2**30:.2f} GiB"


def ratio(timings: list[Timing], size: str, other: str = "PyTorch") -> float | None:
    """Speed of the best lm_jax mode over that of the best mode of another library."""
    best = {
        library: min(
            (t.median for t in timings if (t.size, t.library) == (size, library)),
            default=float("inf"),
        )
        for library in ("lm_jax", other)
    }
    if float("inf") in best.values():
        return None
    return best[other] / best["lm_jax"]
