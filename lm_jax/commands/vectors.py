"""Word vectors: of a run or a file, scored and written."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import jax
import numpy as np
import tyro
from jaxtyping import Float32

from lm_jax.commands.options import read_options
from lm_jax.data import read_vectors, write_vectors
from lm_jax.errors import UserError
from lm_jax.evaluation.word_similarity import word_scores
from lm_jax.fitted import load_fitted
from lm_jax.models.model import lacking
from lm_jax.runs.directory import find_run
from lm_jax.runs.display import Display
from lm_jax.tokenizers import WithSpecials
from lm_jax.tokenizers.trained import END_OF_DOCUMENT, UNKNOWN
from lm_jax.tokenizers.words import END_OF_SENTENCE
from lm_jax.training.run import Trained

# Tokens that stand for no text of their own.
SPECIAL = (UNKNOWN, END_OF_SENTENCE, END_OF_DOCUMENT)


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
    scores = word_scores(*_whole_words(words, vectors), folder)
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


def _whole_words(
    words: list[str], vectors: Float32[np.ndarray, "rows width"]
) -> tuple[list[str], Float32[np.ndarray, "rows width"]]:
    """Take a token that begins with a space for the word after it.

    They come first: the same letters without the space are part of a word.
    """
    order = sorted(range(len(words)), key=lambda i: not words[i].startswith(" "))
    return [words[i].removeprefix(" ") for i in order], vectors[order]


def _vectors(source: Path) -> tuple[list[str], Float32[np.ndarray, "rows width"]]:
    if source.is_file():
        return read_vectors(source)
    _, fitted = load_fitted(find_run(source))
    if not isinstance(fitted, Trained):
        raise UserError(f"{source} was fitted by counting: it has no vectors.")
    model, tokenizer = fitted.setup.model, fitted.data.tokenizer
    if lacking(model, {"vectors": ()}):
        raise UserError(
            f"{type(model).__name__} has no vectors of tokens: give it a method "
            "`vectors` that returns them, (vocab, width)."
        )
    table = model.apply({"params": fitted.params}, method="vectors")
    table = np.asarray(jax.device_get(table), np.float32)
    if isinstance(tokenizer, WithSpecials):
        tokenizer = tokenizer.tokenizer
    symbols = tokenizer.symbols(range(tokenizer.vocab_size))
    spelled = [i for i, symbol in enumerate(symbols) if symbol not in SPECIAL]
    return [symbols[i] for i in spelled], table[spelled]
