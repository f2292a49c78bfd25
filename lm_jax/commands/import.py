"""A Hugging Face checkpoint becomes a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lm_jax.commands.options import read_options
from lm_jax.exchange import import_checkpoint
from lm_jax.runs.display import Display
from lm_jax.tokenizers.saved import describe


@dataclass(frozen=True)
class Options:
    """Write a run of a Hugging Face folder, which all other commands read.

    The folder has config.json, model.safetensors (or its parts and their index) and
    tokenizer.json. Each array is taken once and none is made anew; what our models
    don't know is refused by name. Pickles are not read.
    """

    path: Annotated[Path, tyro.conf.Positional]
    """The folder."""
    run: Path
    """A new directory for the run."""
    corpus: str = "tinyshakespeare"
    """The text that `evaluate` scores it on unless told otherwise."""


def main(args: list[str]) -> None:
    """Run the command."""
    options = read_options(Options, "import", args)
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
