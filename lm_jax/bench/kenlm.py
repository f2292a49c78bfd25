"""KenLM's programs, to be measured: lmplz fits, query scores."""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer

from lm_jax.errors import UserError
from lm_jax.tokenizers import Trained
from lm_jax.tokenizers.trained import UNKNOWN, boundary_ids
from lm_jax.tokenizers.words import as_written

PROGRAMS = ("lmplz", "build_binary", "query")
# What lmplz may take; its own choice is most of the machine's.
MEMORY = "2G"
# lmplz refuses a text that spells <unk>.
_SPELLED = "(unk)"


class _Ran(NamedTuple):
    """What a program took.

    Attributes:
        seconds: by the clock.
        peak: MB of memory.
        said: on its standard output.
    """

    seconds: float
    peak: float
    said: str


def check_programs(folder: Path) -> None:
    """See that KenLM's programs are in a folder.

    Raises:
        UserError: one isn't.
    """
    for name in PROGRAMS:
        if not (folder / name).is_file():
            raise UserError(
                f"--kenlm {folder}: there is no {name}. Give the folder of KenLM's "
                "programs, which its build calls bin."
            )


def as_lines(
    ids: Integer[np.ndarray, " tokens"], tokenizer: Trained, known: bool
) -> str:
    """Spell a text of words as KenLM reads it: a sentence a line.

    Args:
        ids: the text.
        tokenizer: of its words.
        known: whether <unk> is a word like others, which is then spelled otherwise.
    """
    names = [
        as_written(name) for name in tokenizer.symbols(range(tokenizer.vocab_size))
    ]
    unknown = tokenizer.unknown_id
    if unknown is not None:
        names[unknown] = _SPELLED if known else UNKNOWN
    for end in boundary_ids(tokenizer):
        names[end] = "\n"
    text = " ".join(names[i] for i in ids.tolist())
    return re.sub(" *\n *", "\n", text).removesuffix("\n") + "\n"


def measure_kenlm(
    folder: Path, train: str, text: str, order: int, scratch: Path
) -> dict[str, float]:
    """Fit modified Kneser-Ney without pruning to one text, and score another.

    Fitting reads the text and writes an ARPA file. Scoring takes what a query of the
    text takes longer than one of no text: the reading of the model is left out.

    Args:
        folder: of the programs.
        train: what is fitted, by `as_lines`.
        text: what is scored.
        order: tokens of the longest n-gram.
        scratch: a folder for the files.

    Returns:
        "fit" and "score" in seconds, "peak" in MB, "perplexity".

    Raises:
        UserError: a program failed.
    """
    files = {name: scratch / name for name in ("train", "text", "arpa", "binary")}
    files["train"].write_text(train, encoding="utf-8")
    files["text"].write_text(text, encoding="utf-8")
    given = ["-o", order, "-S", MEMORY, "-T", scratch, "--discount_fallback"]
    given += ["--text", files["train"], "--arpa", files["arpa"]]
    fit = _run(folder / "lmplz", *given)
    _run(folder / "build_binary", "probing", files["arpa"], files["binary"])
    asked = folder / "query", "-v", "summary", files["binary"]
    score, start = _run(*asked, text=files["text"]), _run(*asked, text=Path(os.devnull))
    perplexity = re.search(r"including OOVs:\s*(\S+)", score.said)
    return {
        "fit": fit.seconds,
        "score": max(score.seconds - start.seconds, 1e-9),
        "peak": max(fit.peak, score.peak),
        "perplexity": float(perplexity[1]) if perplexity else float("nan"),
    }


def _run(program: Path, *given: object, text: Path = Path(os.devnull)) -> _Ran:
    """Run a program and see what it took."""
    command = [str(program), *map(str, given)]
    with (
        text.open("rb") as asked,
        tempfile.TemporaryFile("w+") as said,
        tempfile.TemporaryFile("w+") as errors,
    ):
        start = time.perf_counter()
        process = subprocess.Popen(command, stdin=asked, stdout=said, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        if process.returncode:
            raise UserError(f"{program} failed:\n{errors.read()[-1000:].strip()}")
        said.seek(0)
        return _Ran(seconds, megabytes(usage.ru_maxrss), said.read())


def megabytes(most: int) -> float:
    """Give the most memory that the system says a process had: MB."""
    return most / (1e6 if sys.platform == "darwin" else 1e3)  # Linux counts KB.
