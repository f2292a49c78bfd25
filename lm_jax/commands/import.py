"""A Hugging Face checkpoint, or an ARPA file, becomes a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lm_jax.commands.options import read_options
from lm_jax.exchange import import_arpa, import_checkpoint
from lm_jax.runs.display import Display
from lm_jax.tokenizers.saved import describe


@dataclass(frozen=True)
class Options:
    """Write a run of a Hugging Face folder or an ARPA file, which all commands read.

    The folder has config.json, model.safetensors (or its parts and their index) and
    tokenizer.json; one of sentence-transformers becomes a run that finds documents.
    Each array is taken once and none is made anew; what our models
    don't know is refused by name. Pickles are not read. An ARPA file has the n-grams of
    KenLM, SRILM and others.
    """

    path: Annotated[Path, tyro.conf.Positional]
    """The folder, or the file."""
    run: Path
    """A new directory for the run."""
    corpus: str = ""
    """The text that `evaluate` scores it on unless told otherwise: if not given, Tiny
    Shakespeare, or SciFact for a model of sentences; "stsb" has rated pairs for one."""


def main(args: list[str]) -> None:
    """Run the command."""
    options = read_options(Options, "import", args)
    if options.path.is_file():
        _arpa(options)
        return
    found = import_checkpoint(options.path, options.run, options.corpus)
    checkpoint = found.checkpoint
    rows = [
        ("architecture", checkpoint.architecture),
        ("model", str(type(checkpoint.model).__name__)),
        ("parameters", f"{checkpoint.parameters:,}, each array read once"),
        ("context", f"{checkpoint.context:,} tokens"),
        ("tokenizer", describe(found.tokenizer)),
        *(("not taken", note) for note in checkpoint.notes),
    ]
    Display(0).header(str(options.run), rows)


def _arpa(options: Options) -> None:
    display = Display(0)
    path, run, corpus = options.path, options.run, options.corpus
    found = import_arpa(path, run, corpus or "tinyshakespeare", display.work)
    display.close()
    rows = [
        ("architecture", f"n-grams of order {found.fitted.order}"),
        ("parameters", f"{found.fitted.parameters:,} n-grams"),
        ("tokenizer", describe(found.tokenizer)),
        *(("note", note) for note in found.notes),
    ]
    display.header(str(run), rows)
