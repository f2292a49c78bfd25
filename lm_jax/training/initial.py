"""Parameters that begin as what was learnt elsewhere."""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lm_jax.adapting import dequantized
from lm_jax.data.vectors import read_vectors
from lm_jax.errors import UserError, nearest
from lm_jax.experiment import FromRun, InitialVectors
from lm_jax.files import given_path
from lm_jax.runs.directory import find_run
from lm_jax.runs.model import load_model
from lm_jax.selectors import like_layers_once, path_name
from lm_jax.tokenizers import Trained
from lm_jax.tokenizers.saved import digest

# Parameters with a row or a column for each token of the vocabulary.
PER_TOKEN = "^embedding$|^output$|^context|^bias$|lm_head"


class Start(NamedTuple):
    """What becomes of the first parameters.

    Attributes:
        arrays: that are put into them.
        place: (parameters, arrays) -> parameters, by unrolled paths.
        table: what happened to each, (path, what), like layers once.
    """

    arrays: Any
    place: Callable[[Any, Any], Any]
    table: list[tuple[str, str]]


def find_start(
    initial: InitialVectors | FromRun, tokenizer: Trained, params: Any
) -> Start:
    """Read what the parameters of a model are to begin with.

    Args:
        initial: where from.
        tokenizer: names each row of the embedding.
        params: the parameters' shapes, unrolled.

    Raises:
        UserError: it can't be read or doesn't fit.
    """
    if isinstance(initial, FromRun):
        return from_run(initial, tokenizer, params)
    return from_vectors(initial, tokenizer, params)


def from_vectors(initial: InitialVectors, tokenizer: Trained, params: Any) -> Start:
    """Read the vectors of the tokens that the file has.

    Raises:
        UserError: the file can't be read, has none of the tokens or vectors of
            another width, or the model has no such parameter.
    """
    table = params.get(initial.parameter)
    if table is None:
        raise UserError(
            f"initial.parameter: the model has no '{initial.parameter}' of (tokens, "
            f"width). There is: {', '.join(params)}."
        )
    notes: list[str] = []
    words, vectors = read_vectors(
        given_path(initial.path, "initial.path"), notes.append
    )
    if vectors.shape[1] != table.shape[1]:
        raise UserError(
            f"{initial.path} has vectors of {vectors.shape[1]} numbers, and the "
            f"model's '{initial.parameter}' is {table.shape[1]} wide. Let "
            f"model.width (or model.embedding_width) be {vectors.shape[1]}."
        )
    row_of = {word: row for row, word in enumerate(words)}
    symbols = tokenizer.symbols(range(tokenizer.vocab_size))
    found = [(i, row_of[s]) for i, s in enumerate(symbols) if s in row_of]
    if not found:
        raise UserError(
            f"{initial.path} has none of the {len(symbols):,} tokens: its first words "
            f"are {', '.join(words[:5])}, the tokenizer's {', '.join(symbols[:5])}."
        )
    ids, rows = np.array(found, np.int64).T

    def place(params: Any, arrays: Any) -> Any:
        table = params[initial.parameter].at[arrays["ids"]].set(arrays["vectors"])
        return params | {initial.parameter: table}

    said = f"{len(ids):,} of {len(symbols):,} rows from {initial.path}"
    said = "; ".join([said, *notes])
    arrays = {"ids": ids.astype(np.int32), "vectors": vectors[rows]}
    return Start(arrays, place, [(initial.parameter, said)])


def from_run(initial: FromRun, tokenizer: Trained, params: Any) -> Start:
    """Read the parameters of a run, and say what is taken.

    What has a row for each token is taken only where the tokens are the same.

    Raises:
        UserError: it can't be read; a parameter of either side fits nothing and is
            not named; an expression matches nothing.
    """
    run = find_run(given_path(initial.run, "initial.run"))
    loaded = load_model(run, initial.step)
    if not hasattr(loaded, "params"):
        raise UserError(f"{run} was fitted by counting: it has no parameters to take.")
    there = dict(_renamed(initial, _by_path(dequantized(loaded.params))))
    here = _by_path(params)
    _check_expressions(initial, there, here)
    alike = digest(loaded.tokenizer) == digest(tokenizer)
    taken, table, problems = {}, [], []
    for path, shape in here.items():
        how, fits = _fate(initial, path, shape, there.get(path), alike)
        table.append((path, how))
        if not fits:
            problems.append(f"  {path}: {how}")
        elif how != "new":
            taken[path] = np.asarray(there[path])
    left = [path for path in there if path not in taken]
    unnamed = [
        path
        for path in left
        if path not in here and not _matches(initial.dropped, path)
    ]
    problems += [f"  {path}: of the run, and of no use here" for path in unnamed]
    if problems:
        raise UserError(
            f"Parameters of {run} and of this model don't fit:\n"
            + "\n".join(like_layers_once(problems))
            + "\nName each in initial.new, initial.resized, initial.renamed or "
            "initial.dropped: (--initial.new 'EXPRESSION' ...)."
        )
    table += [(path, "dropped") for path in left]
    lines = like_layers_once(f"{path}: {how}" for path, how in table)
    parts = (line.partition(": ") for line in lines)
    return Start(taken, _put, [(path, how) for path, _, how in parts])


def _by_path(tree: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {path_name(path): leaf for path, leaf in leaves}


def _renamed(initial: FromRun, there: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for path, array in there.items():
        name = path
        for expression, replacement in initial.renamed:
            name = re.sub(expression, replacement, name)
        yield name, array


def _matches(expressions: tuple[str, ...], path: str) -> bool:
    return any(re.search(expression, path) for expression in expressions)


def _fate(
    initial: FromRun, path: str, here: Any, there: Any, alike: bool
) -> tuple[str, bool]:
    """Say what becomes of a parameter of the model, and whether that is clear."""
    if _matches(initial.new, path):
        return "new", True
    if there is None:
        return "the run has none of this path", False
    if not alike and re.search(PER_TOKEN, path):
        return "has a row for each token, and the run's tokens are others", False
    if here.shape == there.shape:
        return "taken", True
    sizes = f"{_size(there)} there, {_size(here)} here"
    if len(here.shape) == len(there.shape) and _matches(initial.resized, path):
        return f"resized, {sizes}", True
    return sizes, False


def _size(array: Any) -> str:
    return " x ".join(map(str, array.shape)) or "a number"


def _check_expressions(
    initial: FromRun, there: dict[str, Any], here: dict[str, Any]
) -> None:
    for field, paths in (
        ("new", here),
        ("resized", here),
        ("dropped", there),
    ):
        for expression in getattr(initial, field):
            if not any(re.search(expression, path) for path in paths):
                raise UserError(
                    f"'{expression}' in initial.{field} matches no parameter."
                    f"{nearest(expression, paths)}"
                )


def _put(params: Any, arrays: dict[str, Any]) -> Any:
    """Put arrays where their paths say; of another size, the part both have."""

    def chosen(path: Any, first: Any) -> Any:
        array = arrays.get(path_name(path))
        if array is None:
            return first
        if array.shape == first.shape:
            return jnp.asarray(array, first.dtype)
        both = tuple(
            slice(0, min(sizes)) for sizes in zip(array.shape, first.shape, strict=True)
        )
        return first.at[both].set(array[both].astype(first.dtype))

    return jax.tree_util.tree_map_with_path(chosen, params)
