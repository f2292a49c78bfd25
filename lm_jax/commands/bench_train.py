"""Training speed, beside the same model in PyTorch."""

import importlib.util
import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

from lm_jax.bench.compare import (
    Side,
    Timing,
    compare,
    measure_memory,
    memory_rows,
    rates,
    ratio,
    rows,
)
from lm_jax.bench.sizes import Name
from lm_jax.commands.options import read_options
from lm_jax.errors import UserError
from lm_jax.files import atomic_write
from lm_jax.platform import from_extra


@dataclass(frozen=True)
class Options:
    """Train GPTs, LSTMs and a BERT in lm_jax and in PyTorch, in turn, on the CPU.

    Both do the same: AdamW (LSTMs: SGD), clipping, the same batches. LSTM200 has
    two layers of that width, 10,000 words and batches of 20 x 35. BERT-mini, 4 layers
    of 256, learns two classes of 32 x 128 tokens with dropout, beside transformers'.
    Each mode trains for about a second, then the next one does. Close other programs
    first.
    """

    sizes: tuple[Name, ...] = get_args(Name)
    """Parameters of GPTs, widths of LSTMs, a BERT. 124M takes ten minutes and 12 GB."""
    rounds: int = 5
    """Turns of each mode; the table shows their median."""
    against: Path | None = None
    """A folder with another lm_jax, such as an older checkout: it takes turns too."""
    memory: bool = False
    """Measure each mode's memory too, in a process of its own (on Linux)."""
    json: Path | None = None
    """Write the figures here too."""


def main(args: list[str]) -> None:
    """Run the command.

    Raises:
        UserError: for options that can't be met.
    """
    options = read_options(Options, "bench train", args)
    if options.rounds < 1:
        raise UserError("--rounds must be 1 or more.")
    if options.json is not None and not options.json.absolute().parent.is_dir():
        raise UserError(f"--json {options.json}: there is no such folder.")
    if options.memory and sys.platform != "linux":
        raise UserError(f"--memory is read as Linux says it, not {sys.platform}.")
    other = options.against
    if other is not None and not (other / "lm_jax" / "bench" / "worker.py").is_file():
        raise UserError(f"--against: {other} has no lm_jax with benches in it.")
    sides = []
    try:
        sides.append(Side("lm_jax", "jax"))
        if other is not None:
            sides.append(Side("before", "jax", other.absolute()))
        if importlib.util.find_spec("torch") is None:
            print(f"PyTorch isn't installed.\n{from_extra('bench')}")
        else:
            sides.append(Side("PyTorch", "torch"))
        _measure(options, sides)
    finally:
        for side in sides:
            side.close()


def _measure(options: Options, sides: list[Side]) -> None:
    versions = {side.library: side.version for side in sides}
    print(f"{os.cpu_count()} cores; {', '.join(versions.values())}")
    load = os.getloadavg()[0]
    if load > 0.5 * (os.cpu_count() or 1):
        print(
            f"This machine is busy (load {load:.1f}). PyTorch's threads wait by\n"
            "spinning and lose far more by that: don't trust the ratios."
        )
    _say("matrix products")
    measured = rates(sides)
    _say("")
    for library, by_type in measured.items():
        figures = ", ".join(f"{t} {r / 1e9:,.0f}" for t, r in by_type.items())
        print(f"{library}: matrix products at {figures} GFLOP/s")
    print()
    timings: list[Timing] = []
    for size in options.sizes:
        new = compare(sides, size, options.rounds, _say)
        _say("")
        head, *lines = rows(new, measured)
        print("\n".join(lines if timings else [head, *lines]), flush=True)
        timings += new
    ratios = {size: ratio(timings, size) for size in options.sizes}
    older = {size: ratio(timings, size, "before") for size in options.sizes}
    print()
    for found, whose in ((ratios, "PyTorch's"), (older, "before")):
        for size, value in found.items():
            if value is not None:
                print(
                    f"{size}: best lm_jax mode is {value:.2f} times as fast as {whose}"
                )
    if options.memory:
        _say("memory")
        measure_memory(sides, timings)
        _say("")
        print("\n".join(memory_rows(timings)))
    if options.json is not None:
        result = {
            "cores": os.cpu_count(),
            "load": load,
            "versions": versions,
            "matrix_rates": measured,
            "timings": [asdict(timing) for timing in timings],
            "ratios": ratios,
            "ratios_before": older,
        }
        atomic_write(options.json, json.dumps(result, indent=1) + "\n")


def _say(what: str) -> None:
    """A line that the next one replaces, where somebody watches."""
    if sys.stderr.isatty():
        print(f"\r\033[K{what}", end="", file=sys.stderr, flush=True)
