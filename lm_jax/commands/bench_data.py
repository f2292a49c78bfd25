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
from typing import Any

import numpy as np
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from lm_jax.commands.options import read_options
from lm_jax.data import TokenStream
from lm_jax.errors import UserError
from lm_jax.text import Corpus
from lm_jax.text.known import KNOWN, SHIPPED
from lm_jax.text.opening import opened
from lm_jax.tokenizers import Characters, Subwords, Words
from lm_jax.tokenizers.threads import cores

TOKENIZERS: dict[str, Characters | Words | Subwords] = {
    "characters": Characters(),
    "words": Words(),
    "subwords": Subwords(),
}


@dataclass(frozen=True)
class Options:
    """Tokenize a text here and with Hugging Face's tokenizers: MB/s and memory."""

    megabytes: int = 100
    """Size of the text, in millions of bytes: the shipped corpora again and again."""
    text: Path | None = None
    """A text to measure with in their place."""


def main(args: list[str]) -> None:
    """Print MB/s, tokens and peak memory, each from a process of its own."""
    options = read_options(Options, "bench data", args)
    with tempfile.TemporaryDirectory() as folder:
        text, what = options.text, f"{options.text}"
        if text is None:
            text, what = Path(folder, "text.txt"), "English and Chinese, lines anew"
            write_text(text, options.megabytes * 1_000_000)
        elif not text.is_file():
            raise UserError(f"There is no text at {text}.")
        size = text.stat().st_size / 1e6
        print(f"{size:,.0f} MB of {what}; {cores()} cores\n")
        print(
            f"{'':<24}{'MB/s':>7}{'of a core':>11}{'seconds':>9}"
            f"{'tokens':>15}{'peak MB':>9}"
        )
        floor = measure("nothing", text, Path(folder, "nothing"))["peak"]
        for name in TOKENIZERS:
            for side in ("lm_jax", "tokenizers"):
                found = measure(name, text, Path(folder, name + side), side)
                print(
                    f"{name:<12}{side:<12}{size / found['seconds']:>7.1f}"
                    f"{size / found['busy']:>11.1f}{found['seconds']:>9.1f}"
                    f"{found['tokens']:>15,.0f}{found['peak']:>9.0f}"
                )
    print(f"\nThe imports alone take {floor:.0f} MB. MB/s is of everything: reading,")
    print("checking, learning the vocabulary, tokenizing and writing; of a core: per")
    print("second of processor time, which other work on the machine does not slow.")
    print("Peak memory is of all processes together, at most.")


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


def measure(
    name: str, text: Path, cache: Path, side: str = "lm_jax"
) -> dict[str, float]:
    """Run one tokenizer in a fresh process: seconds, busy seconds, tokens, peak MB."""
    code = f"from lm_jax.commands.bench_data import child; child({name!r},"
    code += f" {str(text)!r}, {str(cache)!r}, {side!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)


def child(name: str, text: str, cache: str, side: str) -> None:
    """Tokenize in this process and print the figures as JSON."""
    start, begun, tokens = time.perf_counter(), _busy(), 0
    if side == "tokenizers":
        tokens = by_library(name, Path(text), Path(cache))
    elif name in TOKENIZERS:
        stream = TokenStream(Corpus(text), TOKENIZERS[name])
        prepared = stream.prepare(Path(cache))
        tokens = sum(len(split.ids) for split in prepared.splits.values())
    seconds, busy = time.perf_counter() - start, _busy() - begun
    own, others = (resource.getrusage(who).ru_maxrss for who in _WHO)
    unit = 1e6 if sys.platform == "darwin" else 1e3  # macOS counts bytes, Linux KB.
    peak = (own + cores() * others) / unit
    figures = {"seconds": seconds, "busy": busy, "tokens": tokens, "peak": peak}
    print(json.dumps(figures))


# Processes that tokenize are children of the one that is measured.
_WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def _busy() -> float:
    """Seconds of processor time so far."""
    used = map(resource.getrusage, _WHO)
    return sum(each.ru_utime + each.ru_stime for each in used)


def by_library(name: str, text: Path, folder: Path) -> int:
    """Learn and tokenize the same with `tokenizers`; give the number of tokens.

    Characters are words of one character there; line ends are no words.
    """
    made, trainer = _library(name)
    made.train([str(text)], trainer)
    folder.mkdir()
    count, dtype = 0, "<u2" if made.get_vocab_size() <= 1 << 16 else "<u4"
    with text.open(encoding="utf-8") as lines, Path(folder, "ids").open("wb") as ids:
        while some := lines.readlines(1 << 20):
            for found in made.encode_batch_fast(some):
                ids.write(np.array(found.ids, dtype).tobytes())
                count += len(found.ids)
    return count


def _library(name: str) -> tuple[Any, Any]:
    """Its tokenizer of a kind, and what trains it."""
    words = trainers.WordLevelTrainer(
        vocab_size=1 << 30, show_progress=False, special_tokens=["<unk>"]
    )
    if name == "subwords":
        made = Tokenizer(models.BPE(byte_fallback=True))
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
        size = Subwords().size
        return made, trainers.BpeTrainer(vocab_size=size, show_progress=False)
    made = Tokenizer(models.WordLevel(unk_token="<unk>"))
    each = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    made.pre_tokenizer = (
        each if name == "characters" else pre_tokenizers.WhitespaceSplit()
    )
    return made, words
