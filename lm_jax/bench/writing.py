"""Two libraries go on from the same prompts with the same weights, by turns."""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from lm_jax.bench.compare import Side

BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}
"""Of a weight, in each mode."""

Prompts = list[list[int]]


@dataclass
class Speed:
    """How fast one library writes in one mode.

    Attributes:
        library, mode, batch: what writes, its weights, and how many texts at once.
        prefill: seconds until the first token, one figure for each turn.
        whole: seconds until the last token.
        tokens: that were written, in the last turn.
    """

    library: str
    mode: str
    batch: int
    prefill: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    tokens: Prompts = field(default_factory=list)

    @property
    def first(self) -> float:
        """Median seconds until the first token."""
        return statistics.median(self.prefill)

    @property
    def step(self) -> float:
        """Median seconds that each token after the first took."""
        pairs = zip(self.whole, self.prefill, strict=True)
        decoding = statistics.median(whole - first for whole, first in pairs)
        return decoding / (len(self.tokens[0]) - 1)

    @property
    def rate(self) -> float:
        """New tokens a second after the first ones, of all texts."""
        return self.batch / self.step

    @property
    def total(self) -> float:
        """New tokens a second, with the time to read the prompts."""
        return self.batch * len(self.tokens[0]) / statistics.median(self.whole)


def read_rate(megabytes: int = 512, reads: int = 5) -> float:
    """Bytes a second that all cores read from memory, at their best."""
    cores = os.cpu_count() or 1
    parts = np.array_split(np.ones(megabytes * 2**18, np.float32), cores)
    best = float("inf")
    with ThreadPoolExecutor(cores) as pool:
        for _ in range(reads):
            begin = time.perf_counter()
            list(pool.map(lambda part: np.dot(part, part), parts))
            best = min(best, time.perf_counter() - begin)
    return megabytes * 2**20 / best


def compare(
    sides: Sequence[Side],
    prompts: Prompts,
    tokens: int,
    turns: int,
    say: Callable[[str], None],
) -> list[Speed]:
    """Write with every mode of every side in turn, after a turn that warms up.

    Args:
        sides: which have opened the same model.
        prompts: token ids, of one length.
        tokens: to write, 2 or more.
        turns: of each.
        say: is told what happens.
    """
    pairs = [
        (side, Speed(side.library, mode, len(prompts)))
        for mode in BYTES
        for side in sides
        if mode in side.modes
    ]
    for turn in range(turns + 1):
        for side, speed in pairs:
            say(f"batch {len(prompts)}, turn {turn} of {turns}: {side.library}")
            what = {"mode": speed.mode, "prompts": prompts, "tokens": tokens}
            whole = side.ask("write", **what, first=False)
            first = side.ask("write", **what, first=True)
            speed.tokens = whole["tokens"]
            if turn:
                speed.whole.append(whole["seconds"])
                speed.prefill.append(first["seconds"])
    return [speed for _, speed in pairs]


def agreement(speeds: Sequence[Speed], mode: str) -> float | None:
    """The share of a mode's tokens that the libraries agree on; None of one alone."""
    written = [np.array(speed.tokens) for speed in speeds if speed.mode == mode]
    return float((written[0] == written[1]).mean()) if len(written) == 2 else None


def programs(side: Side, lengths: Sequence[int], draw: Callable[[int], list]) -> int:
    """How many programs new prompt lengths compile.

    Args:
        side: lm_jax's.
        lengths: of prompts.
        draw: a prompt of a length.
    """
    what = {"mode": "bfloat16", "tokens": 2, "first": True}
    counts = [
        side.ask("write", prompts=[draw(length)], **what)["programs"]
        for length in (lengths[0], *lengths)
    ]
    return 1 + counts[-1] - counts[0]


def rows(speeds: Sequence[Speed], weights: int, bandwidth: float) -> list[str]:
    """A table of at most 80 columns.

    Args:
        speeds: of all.
        weights: how many numbers the model has.
        bandwidth: bytes a second, by `read_rate`.
    """
    lines = [
        "batch weights   library  prefill, ms (range)  decoding, tokens/s  of bandwidth"
    ]
    for speed in speeds:
        low, middle, high = (
            f"{1e3 * seconds:.0f}"
            for seconds in (min(speed.prefill), speed.first, max(speed.prefill))
        )
        share = weights * BYTES[speed.mode] / bandwidth / speed.step
        lines.append(
            f"{speed.batch:5} {speed.mode:9} {speed.library:8}"
            f" {f'{middle} ({low}-{high})':20} {speed.rate:19.1f} {share:13.0%}"
        )
    return lines


def ratios(speeds: Sequence[Speed]) -> list[dict]:
    """How many times as fast as PyTorch lm_jax is, in each mode that both have."""
    found = []
    for ours in speeds:
        for other in speeds:
            same = (ours.mode, ours.batch) == (other.mode, other.batch)
            if same and (ours.library, other.library) == ("lm_jax", "PyTorch"):
                found.append(
                    {
                        "batch": ours.batch,
                        "mode": ours.mode,
                        "prefill": other.first / ours.first,
                        "decoding": ours.rate / other.rate,
                        "total": ours.total / other.total,
                    }
                )
    return found
