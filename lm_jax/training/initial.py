"""Parameters that begin as what was learnt elsewhere."""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lm_jax.data.vectors import read_vectors
from lm_jax.errors import UserError, nearest
from lm_jax.experiment import Initial, InitialVectors, Learnt, flatten
from lm_jax.files import given_path, near
from lm_jax.runs.learnt import There, by_path, read_there, renamed
from lm_jax.selectors import like_layers_once, path_name
from lm_jax.tokenizers import Trained
from lm_jax.tokenizers.saved import digest

# Parameters with a row or a column for each token of the vocabulary.
PER_TOKEN = "^(.*_tower/)?embedding$|^output$|^context|^bias$"
# Those with a column for each label.
PER_LABEL = "^(class|token)_head/"
# With one for each label where texts have labels, and else for each token.
LAST = "lm_head"


class Start(NamedTuple):
    """What becomes of the first parameters.

    Attributes:
        arrays: that are put into them.
        place: (parameters, arrays) -> parameters, by unrolled paths.
        table: what happened to each, (path, what), like layers once.
        there: where they come from; None of vectors.
    """

    arrays: Any
    place: Callable[[Any, Any], Any]
    table: list[tuple[str, str]]
    there: There | None = None


def find_start(
    initial: Initial,
    tokenizer: Trained,
    params: Any,
    model: Any = None,
    labels: tuple[str, ...] = (),
) -> Start:
    """Read what the parameters of a model are to begin with.

    Args:
        initial: where from.
        tokenizer: names each row of the embedding.
        params: the parameters' shapes, unrolled.
        model: that they are of. Where a field of it is another than it was there, the
            table says so.
        labels: names of the classes that it is to tell apart, where it is.

    Raises:
        UserError: it can't be read or doesn't fit.
    """
    if isinstance(initial, InitialVectors):
        return from_vectors(initial, tokenizer, params)
    there = read_there(initial)
    start = from_learnt(initial, there, tokenizer, params, labels)
    return start._replace(table=[*_other_fields(there.model, model), *start.table])


def _other_fields(there: Any, here: Any) -> Iterator[tuple[str, str]]:
    """The fields that two models of one family have otherwise."""
    if type(there) is not type(here):
        return
    of_there, of_here = flatten(there), flatten(here)
    for name in of_there | of_here:
        a, b = (of.get(name, "none") for of in (of_there, of_here))
        if a != b:
            yield f"model.{name}", f"{a} there, {b} here"


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


def from_learnt(
    initial: Learnt,
    source: There,
    tokenizer: Trained,
    params: Any,
    labels: tuple[str, ...] = (),
) -> Start:
    """Say what is taken of parameters that were learnt elsewhere.

    What has a row for each token, or a column for each label, is taken only where the
    tokens, or the labels, are the same.

    Raises:
        UserError: a parameter of either side fits nothing and is not named; an
            expression matches nothing.
    """
    there, here = dict(renamed(initial, source)), by_path(params)
    _check_expressions(initial, there, here)
    named = _named(source, tokenizer, labels)
    taken, table, problems = {}, [], []
    for path, shape in here.items():
        how, fits = _fate(initial, path, shape, there.get(path), source.kind, named)
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
    problems += [
        f"  {path}: of the {source.kind}, and of no use here" for path in unnamed
    ]
    if problems:
        raise UserError(
            f"Parameters of {near(source.where)} and of this model don't fit:\n"
            + "\n".join(like_layers_once(problems))
            + "\nName each in initial.new, initial.resized, initial.renamed or "
            "initial.dropped: (--initial.new 'EXPRESSION' ...)."
        )
    table += [(path, "dropped") for path in left]
    lines = like_layers_once(f"{path}: {how}" for path, how in table)
    parts = (line.partition(": ") for line in lines)
    return Start(taken, _put, [(path, how) for path, _, how in parts], source)


def _matches(expressions: tuple[str, ...], path: str) -> bool:
    return any(re.search(expression, path) for expression in expressions)


class _Named(NamedTuple):
    """Parameters whose parts have names: those of tokens, or of labels.

    Attributes:
        paths: an expression of them.
        likeness: of the names there and here: "same"; "more" or fewer; "others".
        why: they are not taken where the names are others.
    """

    paths: str
    likeness: str
    why: str


def _named(
    source: There, tokenizer: Trained, labels: tuple[str, ...]
) -> tuple[_Named, _Named]:
    theirs = ", ".join(source.labels[:10]) or "none"
    return (
        _Named(
            PER_TOKEN if labels else f"{PER_TOKEN}|{LAST}",
            _likeness(source.tokenizer, tokenizer),
            f"has a row for each token, and the {source.kind}'s tokens are others",
        ),
        _Named(
            f"{PER_LABEL}|{LAST}" if labels else PER_LABEL,
            _likeness_of_labels(source.labels, labels),
            "has a column for each label, and those of the "
            f"{source.kind} are others: {theirs}",
        ),
    )


def _likeness(there: Trained, here: Trained) -> str:
    if digest(there) == digest(here):
        return "same"
    both = range(min(there.vocab_size, here.vocab_size))
    begun = there.symbols(both) == here.symbols(both)
    return "more" if begun and there.vocab_size != here.vocab_size else "others"


def _likeness_of_labels(there: tuple[str, ...], here: tuple[str, ...]) -> str:
    if there == here:
        return "same"
    both = min(len(there), len(here))
    return "more" if both and there[:both] == here[:both] else "others"


def _fate(
    initial: Learnt,
    path: str,
    here: Any,
    there: Any,
    kind: str,
    named: tuple[_Named, ...],
) -> tuple[str, bool]:
    """Say what becomes of a parameter of the model, and whether that is clear."""
    if _matches(initial.new, path):
        return "new", True
    if there is None:
        return f"the {kind} has none of this path", False
    resized = _matches(initial.resized, path)
    taken = ("same", "more") if resized else ("same",)
    for each in named:
        if each.likeness not in taken and re.search(each.paths, path):
            return each.why, False
    if here.shape == there.shape:
        return "taken", True
    sizes = f"{_size(there)} there, {_size(here)} here"
    if len(here.shape) == len(there.shape) and resized:
        return f"resized, {sizes}", True
    return sizes, False


def _size(array: Any) -> str:
    return " x ".join(map(str, array.shape)) or "a number"


def _check_expressions(
    initial: Learnt, there: dict[str, Any], here: dict[str, Any]
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
