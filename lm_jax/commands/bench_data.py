"""Measure how fast text becomes tokens, and in how much memory."""

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from lm_jax.commands.options import read_options
from lm_jax.data import TokenStream
from lm_jax.text import Corpus
from lm_jax.text.known import KNOWN, SHIPPED
from lm_jax.text.opening import opened
from lm_jax.tokenizers import Characters, Subwords, Words

TOKENIZERS: dict[str, Characters | Words | Subwords] = {
    "characters": Characters(),
    "words": Words(),
    "subwords": Subwords(),
}


@dataclass(frozen=True)
class Options:
    """Tokenize text made of the shipped corpora; print MB/s and memory."""

    megabytes: int = 100
    """Size of the text, in millions of bytes."""


def main(args: list[str]) -> None:
    """Print MB/s, tokens and peak memory, each from a process of its own."""
    options = read_options(Options, "bench data", args)
    print(f"{options.megabytes} MB of English and Chinese, in lines of new order")
    print(
        f"{'tokenizer':<12}{'MB/s':>8}{'of a core':>11}{'seconds':>9}"
        f"{'tokens':>14}{'peak MB':>9}"
    )
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder, "text.txt")
        write_text(text, options.megabytes * 1_000_000)
        floor = measure("nothing", text, Path(folder, "nothing"))["peak"]
        for name in TOKENIZERS:
            found = measure(name, text, Path(folder, name))
            rate = options.megabytes / found["seconds"]
            core = options.megabytes / found["busy"]
            print(
                f"{name:<12}{rate:>8.1f}{core:>11.1f}{found['seconds']:>9.1f}"
                f"{found['tokens']:>14,.0f}{found['peak']:>9.0f}"
            )
    print(f"The imports alone take {floor:.0f} MB. MB/s is of everything: reading,")
    print("checking, learning the vocabulary, tokenizing and writing; of a core: per")
    print("second of processor time, which other work on the machine does not slow.")


def write_text(path: Path, size: int) -> None:
    """Write lines of the shipped texts, shuffled anew until there are enough."""
    lines: list[bytes] = []
    for name in ("tinyshakespeare", "tangshi300"):
        (source,) = KNOWN[name].found(SHIPPED)
        with opened(source) as shipped:
            lines += shipped.readlines()
    draw = random.Random(0)
    with path.open("wb") as file:
        while size > 0:
            draw.shuffle(lines)
            block = b"".join(lines)[:size].decode(errors="ignore").encode()
            file.write(block)
            size -= max(len(block), 1)


def measure(name: str, text: Path, cache: Path) -> dict[str, float]:
    """Run one tokenizer in a fresh process: seconds, busy seconds, tokens, peak MB."""
    code = f"from lm_jax.commands.bench_data import child; child({name!r},"
    code += f" {str(text)!r}, {str(cache)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)


def child(name: str, text: str, cache: str) -> None:
    """Tokenize in this process and print the figures as JSON."""
    start, begun, tokens = time.perf_counter(), time.process_time(), 0
    if name in TOKENIZERS:
        stream = TokenStream(Corpus(text), TOKENIZERS[name])
        prepared = stream.prepare(Path(cache))
        tokens = sum(len(split.ids) for split in prepared.splits.values())
    seconds = time.perf_counter() - start
    busy = time.process_time() - begun
    unit = 1e6 if sys.platform == "darwin" else 1e3  # macOS counts bytes, Linux KB.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    figures = {"seconds": seconds, "busy": busy, "tokens": tokens, "peak": peak}
    print(json.dumps(figures))
