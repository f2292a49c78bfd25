"""Word vectors: of a run or a file, scored and written."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from jaxtyping import Float32

from lm_jax.commands.options import read_options
from lm_jax.data import read_vectors, write_vectors
from lm_jax.errors import UserError
from lm_jax.evaluation.word_similarity import whole_words, word_scores
from lm_jax.runs.directory import find_run
from lm_jax.runs.display import Display
from lm_jax.runs.model import load_model


@dataclass(frozen=True)
class Options:
    """Score word vectors, and write them in word2vec's text format.

    Those of a language model are its embedding. Spaces in tokens are written "▁".
    Scores: WordSim-353, SimLex-999 and MEN (Spearman), Google's and the Chinese
    CA8 analogies (3CosAdd), each with the share of its questions that the words
    cover. Their files are read below $LM_JAX_DATA/wordvectors.
    """

    source: Annotated[Path, tyro.conf.Positional]
    """Directory of a run, or a file in word2vec's or GloVe's text format."""
    out: Path | None = None
    """Write the vectors to this file."""
    sections: bool = False
    """Show each section of the analogies too."""


def main(args: list[str]) -> None:
    """Run the command.

    Raises:
        UserError: when there are no vectors, or nothing to do with them.
    """
    options = read_options(Options, "vectors", args)
    words, vectors = _vectors(options.source)
    if options.out is not None:
        write_vectors(options.out, words, vectors)
        print(f"{len(words):,} vectors of {vectors.shape[1]} written: {options.out}")
    data = os.environ.get("LM_JAX_DATA")
    if data is None:
        if options.out is None:
            raise UserError(
                "There is nothing to score by: set LM_JAX_DATA to a folder with "
                "wordvectors/ in it, or write the vectors to a file with --out."
            )
        return
    folder = Path(data).expanduser() / "wordvectors"
    scores = word_scores(*whole_words(words, vectors), folder)
    shown = {
        name: value
        for name, value in scores.items()
        if scores.get(f"{name.split('/')[0]}/covered")
        and (options.sections or name.count("/") == 1)
    }
    if not shown:
        print("No pair or analogy has all its words among these: nothing is scored.")
        return
    rows = [(name.replace("/", ", "), f"{value:.4f}") for name, value in shown.items()]
    Display(0).header(f"{options.source}, {len(words):,} words", rows)


def _vectors(source: Path) -> tuple[list[str], Float32[np.ndarray, "rows width"]]:
    if source.is_file():
        return read_vectors(source, print)
    return load_model(find_run(source)).vectors()
