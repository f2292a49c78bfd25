"""A run becomes a Hugging Face checkpoint, or an ARPA file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lm_jax.commands.options import read_options
from lm_jax.exchange import export_run
from lm_jax.runs.display import Display


@dataclass(frozen=True)
class Options:
    """Write a run as a folder that transformers loads: its model and its tokenizer.

    A model that no architecture of theirs holds is refused, with the field that is in
    the way. A run of n-grams becomes an ARPA file, which KenLM and SRILM read: a line
    for each n-gram, compressed if PATH ends in .gz.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Directory of the run."""
    path: Annotated[Path, tyro.conf.Positional]
    """A new folder; of n-grams a new file."""
    step: int | None = None
    """Checkpoint to write; the best one if not given."""
    architecture: str = ""
    """Which to write, by transformers' model_type, where several hold the model; the
    first if not given."""


def main(args: list[str]) -> None:
    """Run the command."""
    options = read_options(Options, "export", args)
    display = Display(0)
    made = export_run(
        *(options.run, options.path, options.step, options.architecture), display.work
    )
    display.close()
    rows = [("architecture", made.architecture)]
    rows += [("note", note) for note in made.notes]
    display.header(str(options.path), rows)
