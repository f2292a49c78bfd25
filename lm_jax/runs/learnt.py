"""Parameters that were learnt elsewhere: by a run, or in a Hugging Face folder."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from lm_jax.adapting import dequantized
from lm_jax.data import digest_of
from lm_jax.errors import UserError
from lm_jax.experiment import FromHuggingFace, FromRun, Learnt
from lm_jax.files import given_path
from lm_jax.runs.directory import find_run
from lm_jax.selectors import path_name
from lm_jax.tokenizers import Trained
from lm_jax.tokenizers.pretrained import read_pretrained


class There(NamedTuple):
    """Parameters that were learnt elsewhere.

    Attributes:
        kind: "run" or "checkpoint".
        where: it lies.
        step: of the run's checkpoint; None of a folder.
        model: that they are of.
        params: float32 arrays of numpy, by dictionaries.
        tokenizer: that names their rows.
        labels: that name what a classifier tells apart, where they are of one.
    """

    kind: str
    where: Path
    step: int | None
    model: Any
    params: Any
    tokenizer: Trained
    labels: tuple[str, ...] = ()

    def digest(self) -> int:
        """Name the parameters, all of them, by 32 bits."""
        return digest_of(by_path(self.params).items())


def read_there(initial: FromRun | FromHuggingFace) -> There:
    """Read the parameters that a run or a folder has.

    Raises:
        UserError: there are none, or they can't be read.
    """
    return _run(initial) if isinstance(initial, FromRun) else _folder(initial)


def _run(initial: FromRun) -> There:
    # A model is read with its base, by this function, and so is imported here.
    from lm_jax.runs.model import CountedModel, load_model

    run = find_run(given_path(initial.run, "initial.run"))
    loaded = load_model(run, initial.step)
    if isinstance(loaded, CountedModel):
        raise UserError(f"{run} was fitted by counting: it has no parameters to take.")
    params = jax.tree.map(np.asarray, dequantized(loaded.params))
    return There(
        *("run", run, loaded.step, loaded.model, params),
        tokenizer=loaded.tokenizer,
        labels=loaded.labels,
    )


def _folder(initial: FromHuggingFace) -> There:
    # Exchange writes runs too.
    from lm_jax.exchange.reading import read_checkpoint

    path = given_path(initial.path, "initial.path")
    found, tokenizer = read_checkpoint(path), read_pretrained(path)
    return There("checkpoint", path, None, found.model, found.params, tokenizer)


def by_path(tree: Any) -> dict[str, Any]:
    """Give the arrays of a tree by their paths."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {path_name(path): leaf for path, leaf in leaves}


def renamed(initial: Learnt, there: There) -> Iterator[tuple[str, Any]]:
    """Give the arrays that were learnt by the paths that they are to have."""
    for path, array in by_path(there.params).items():
        name = path
        for expression, replacement in initial.renamed:
            name = re.sub(expression, replacement, name)
        yield name, array
