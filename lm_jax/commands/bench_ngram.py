"""Measure how fast an n-gram model is fitted and scores, beside KenLM's and NLTK's."""

import importlib.util
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lm_jax.bench.kenlm import (
    MEMORY,
    as_lines,
    check_programs,
    measure_kenlm,
    megabytes,
)
from lm_jax.commands.options import read_options
from lm_jax.counting import NGram, Scratch, load
from lm_jax.data import Prepared, TokenStream
from lm_jax.errors import UserError
from lm_jax.text import Corpus
from lm_jax.tokenizers import Words
from lm_jax.tokenizers.trained import boundary_ids


@dataclass(frozen=True)
class Options:
    """Fit Kneser-Ney models of the words of a corpus; print words/s and memory.

    The whole corpus is for lm_jax, and for KenLM where its programs are given. NLTK
    looks through all its n-grams for each token it scores, so it is compared with
    lm_jax on a short piece.
    """

    corpus: str = "ptb"
    """Name of a corpus, or a path."""
    order: int = 5
    """Tokens of the longest n-gram."""
    piece: int = 20_000
    """Training tokens of the short piece, from the start; 0 leaves it out."""
    scored: int = 100
    """Tokens that are scored after training on the short piece."""
    kenlm: Path | None = None
    """Folder of KenLM's lmplz, build_binary and query, to be measured too."""


def main(args: list[str]) -> None:
    """Print rates and peak memory, each from a process of its own.

    Raises:
        UserError: for options that can't be met.
    """
    options = read_options(Options, "bench ngram", args)
    too_short = 0 < options.piece < options.order
    if too_short or options.order < 1 or options.scored < 2:
        raise UserError(
            "--order must be 1 or more, --piece no less than it (or 0) and --scored 2 "
            "or more."
        )
    if options.kenlm is not None:
        check_programs(options.kenlm)
    with tempfile.TemporaryDirectory() as cache:
        _print_table(options, cache)


def _print_table(options: Options, cache: str) -> None:
    made = _stream(options.corpus).prepare(Path(cache))
    train, text = made.splits["train"].ids, made.splits[_split(made)].ids
    sizes = len(train), len(text)
    print(made.statement)
    print(f"\nKneser-Ney of order {options.order}; the text scored: {_split(made)}")
    print(
        f"{'':<8}{'fitted':>12}{'words/s':>11}{'scored':>10}{'words/s':>12}"
        f"{'peak MB':>9}{'perplexity':>12}"
    )
    floor = measure("nothing", options, cache, 1, 2)["peak"]
    print(_line("lm_jax", measure("lm_jax", options, cache, *sizes)), flush=True)
    if options.kenlm is not None:
        known = bool((train == made.tokenizer.unknown_id).any())
        lines, asked = (as_lines(ids, made.tokenizer, known) for ids in (train, text))
        found = measure_kenlm(options.kenlm, lines, asked, options.order, Path(cache))
        found |= {"fitted": sizes[0], "scored": sizes[1]}
        print(_line("KenLM", found), flush=True)
    if options.piece:
        _compare_piece(options, cache, sizes)
    print(f"lm_jax's imports and the tokens alone take {floor:.0f} MB.")
    print("It fits tokens, and writes its tables.")
    if options.kenlm is not None:
        print(f"KenLM reads text, and writes an ARPA file; lmplz had -S {MEMORY}.")


def _compare_piece(options: Options, cache: str, sizes: tuple[int, int]) -> None:
    piece = min(options.piece, sizes[0]), min(options.scored, sizes[1])
    print(_line("lm_jax", measure("lm_jax", options, cache, *piece)), flush=True)
    if importlib.util.find_spec("nltk") is not None:
        print(_line("NLTK", measure("NLTK", options, cache, *piece)))
        print("\nNLTK has one discount, 0.1, and unseen words have probability 0,")
        print("hence no perplexity. Its time per token grows with the text fitted.")
    else:
        print("\nNLTK isn't installed: pip install nltk")


def measure(
    library: str, options: Options, cache: str, fitted: int, scored: int
) -> dict[str, float]:
    """Fit and score in a fresh process; see `child` for what comes back."""
    code = "from lm_jax.commands.bench_ngram import child; "
    code += f"child({library!r}, {options.corpus!r}, {cache!r}, "
    code += f"{options.order}, {fitted}, {scored})"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout)


def child(
    library: str, corpus: str, cache: str, order: int, fitted: int, scored: int
) -> None:
    """Fit to the first tokens, score the first of another split, print JSON.

    "fit" and "score" are seconds, "peak" MB; "perplexity" is NaN for all but
    lm_jax. "nothing" is the library that does nothing.
    """
    made = _stream(corpus).prepare(Path(cache))
    train = made.splits["train"].ids[:fitted]
    text = made.splits[_split(made)].ids[:scored]
    score: Callable[[np.ndarray], np.ndarray] = np.zeros_like
    start = time.perf_counter()
    if library == "NLTK":
        score = _fit_nltk(train, order)
    elif library == "lm_jax":
        ends = boundary_ids(made.tokenizer) or None
        scratch, path = Scratch(Path(cache)), Path(cache) / f"ngram{fitted}"
        NGram(order).fit(train, made.vocab_size, ends, scratch=scratch).save(path)
        score = load(path).log_probabilities
    middle = time.perf_counter()
    log_probabilities = score(text)
    end = time.perf_counter()
    figures = {
        "fitted": len(train),
        "scored": len(log_probabilities),
        "fit": middle - start,
        "score": end - middle,
        "peak": megabytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss),
        "perplexity": math.nan,
    }
    if library == "lm_jax":
        figures["perplexity"] = math.exp(-log_probabilities.mean())
    print(json.dumps(figures))


def _fit_nltk(train: np.ndarray, order: int) -> Callable[[np.ndarray], np.ndarray]:
    """Fit NLTK's model to the n-grams of the stream; give what scores a text."""
    from nltk.lm import KneserNeyInterpolated
    from nltk.util import everygrams

    words = [str(token) for token in train]
    model = KneserNeyInterpolated(order)
    model.fit([everygrams(words, max_len=order)], words)

    def score(text: np.ndarray) -> np.ndarray:
        words = [str(token) for token in text]
        scores = [
            model.score(words[i], words[max(0, i - order + 1) : i])
            for i in range(1, len(words))
        ]
        with np.errstate(divide="ignore"):
            return np.log(scores)

    return score


def _stream(corpus: str) -> TokenStream:
    return TokenStream(Corpus(corpus), Words(), 1)


def _split(made: Prepared) -> str:
    """Give the split that is scored."""
    return "test" if "test" in made.splits else "validation"


def _line(library: str, found: dict[str, float]) -> str:
    perplexity = found["perplexity"]
    shown = "" if math.isnan(perplexity) else f"{perplexity:.2f}"
    return (
        f"{library:<8}{found['fitted']:>12,}{found['fitted'] / found['fit']:>11,.0f}"
        f"{found['scored']:>10,}{found['scored'] / found['score']:>12,.0f}"
        f"{found['peak']:>9.0f}{shown:>12}"
    )
