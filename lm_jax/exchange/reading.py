"""The parameters of a Hugging Face folder, as those of a model of ours."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import unflatten_dict

from lm_jax.data import Frame
from lm_jax.errors import UserError
from lm_jax.exchange.architecture import Architecture, Shapes, shapes_of
from lm_jax.exchange.fields import Config
from lm_jax.exchange.files import FLOATS, Stored, read_json, stored_arrays
from lm_jax.exchange.known import architecture_of
from lm_jax.exchange.rows import Row, fitting, their_shapes
from lm_jax.files import given_path, near
from lm_jax.selectors import like_layers_once


class Checkpoint(NamedTuple):
    """What a folder holds, as ours.

    Attributes:
        architecture: of it.
        model: ours.
        params: of it, float32.
        context: tokens that it may see.
        notes: what of the folder was not taken, and why.
        frame: what stands around sources and targets, where there are some.
        lacks: arrays of the head, where the folder has a body alone.
    """

    architecture: str
    model: Any
    params: Any
    context: int
    notes: list[str]
    frame: Frame | None = None
    lacks: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """How many numbers."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.params))


def model_of(path: Path | str) -> Any:
    """Give the model of a Hugging Face folder, for an experiment's file.

    It begins as the checkpoint is with ``initial=FromHuggingFace(path="FOLDER")``. No
    parameter is read here, and the vocabulary is that of the data: where theirs is
    padded, name the embedding in ``resized``.

    Raises:
        UserError: its config.json can't be read, or says what our models don't know.
    """
    _, model, _, _ = _described(given_path(path, "The folder"))
    return model.clone(vocab_size=0)


def body_of(path: Path | str) -> Any:
    """Give that model without what only its logits need: ``Classifier(body_of(...))``.

    Raises:
        UserError: as `model_of`.
    """
    return model_of(path).without_logits()


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the parameters of a Hugging Face folder: each array once, none left over.

    Args:
        path: the folder.

    Raises:
        UserError: its config.json says what our models don't know, or the arrays
            aren't those that it says; one message names all.
    """
    architecture, model, context, stored = _described(path)
    values = read_json(path / "config.json")
    frame = architecture.frame(values) if architecture.frame else None
    taken = _taken(architecture, model, context, stored, path)
    return taken._replace(frame=frame)


def _described(path: Path) -> tuple[Architecture, Any, int, dict[str, Stored]]:
    """The architecture of a folder, our model of it, its context, its arrays unread."""
    if not path.is_dir():
        raise UserError(f"There is no folder {near(path)}.")
    values = read_json(path / "config.json")
    stored = stored_arrays(path)
    architecture = architecture_of(Config(values, near(path / "config.json")))
    stored = _in_full(architecture, stored)
    config = Config(values, near(path / "config.json"), list(stored))
    return architecture, *architecture.read(config), stored


def _in_full(
    architecture: Architecture, stored: Mapping[str, Stored]
) -> dict[str, Stored]:
    """The arrays by the names that they have in a whole model of today."""
    named = {}
    for name, array in stored.items():
        for expression, replacement in architecture.renamed:
            name = re.sub(expression, replacement, name)
        named[name] = array
    base = architecture.base
    if not base or any(name.startswith(base) for name in named):
        return named
    full = {name for row in architecture.rows for name in row.theirs}
    heads = {
        name for name in (*full, *architecture.copies) if name[: len(base)] != base
    }
    return {name if name in heads else base + name: a for name, a in named.items()}


def _taken(
    architecture: Architecture,
    model: Any,
    context: int,
    stored: Mapping[str, Stored],
    path: Path,
) -> Checkpoint:
    """Take each array once; see before any is read that they are those needed."""
    rows = _rows(architecture, model, stored)
    shapes = shapes_of(model)
    body = [row for row in rows if row.theirs[0].startswith(architecture.base)]
    head = [name for row in rows if row not in body for name in row.theirs]
    # A file without a single array of the head is of the body alone.
    lacks = () if set(head) & set(stored) else tuple(head)
    if lacks:
        rows, model = body, model.without_logits()
    wanted: Shapes = {}
    for row in rows:
        wanted |= their_shapes(row, shapes, model)
    copies = {
        name: of
        for name, of in architecture.copies.items()
        if name in stored and name not in wanted
    }
    notes = dict(_apart(architecture, set(stored) - set(wanted) - set(copies)))
    problems = [*_problems(wanted, stored, {*copies, *notes})]
    problems += [
        f"  {name}: is there beside {of}, which it must equal as config.json says, and "
        "doesn't"
        for name, of in copies.items()
        if not problems and not np.array_equal(stored[name].read(), stored[of].read())
    ]
    if problems:
        raise UserError(
            f"The arrays in {near(path)} are not those of its config.json:\n"
            + "\n".join(like_layers_once(problems))
        )
    params = _params(rows, model, stored)
    said = [f"{name}: {why}" for name, why in notes.items()]
    return Checkpoint(architecture.name, model, params, context, said, lacks=lacks)


def _params(rows: Sequence[Row], model: Any, stored: Mapping[str, Stored]) -> Any:
    """Read the arrays, and turn them into a model's parameters."""
    params: dict[str, Any] = {}
    for row in rows:
        made = row.way.read([stored[name].read() for name in row.theirs], model)
        params |= dict(zip(row.ours, map(np.ascontiguousarray, made), strict=True))
    return unflatten_dict(params, sep="/")


def _rows(
    architecture: Architecture, model: Any, stored: Mapping[str, Stored]
) -> list[Row]:
    """The rows of a model, which name each of its parameters once."""
    shapes = shapes_of(model)
    optional = architecture.optional
    rows = [
        row
        for row in fitting(architecture.rows, shapes, model)
        if not row.ours[0].startswith(optional or "\0")
        or any(name in stored for name in row.theirs)
    ]
    named = [path for row in rows for path in row.ours]
    needed = {path for path in shapes if not path.startswith(optional or "\0")}
    assert len(named) == len(set(named)) and needed <= set(named), (
        f"{architecture.name} lacks {needed - set(named)}"
    )
    return rows


def _apart(architecture: Architecture, names: set[str]) -> Iterator[tuple[str, str]]:
    """The arrays that have no place, with the reason."""
    reasons = dict.fromkeys(architecture.derived, "follows from config.json")
    reasons |= {key: f"{what}, not taken" for key, what in architecture.left.items()}
    for name in sorted(names):
        for expression, reason in reasons.items():
            if re.fullmatch(expression, name):
                yield name, reason


def _problems(
    wanted: Shapes, stored: Mapping[str, Stored], apart: set[str]
) -> Iterator[str]:
    """Say in a line each what is missing, of another shape or type, or too much."""
    for name, shape in wanted.items():
        there = stored.get(name)
        if there is None:
            yield f"  {name}: missing"
        elif there.shape != shape:
            yield (
                f"  {name}: {_size(there.shape)} in {there.file.name}, and config.json "
                f"makes it {_size(shape)}"
            )
        elif there.kind not in FLOATS:
            yield f"  {name}: of the type {there.kind} in {there.file.name}"
    for name in sorted(set(stored) - set(wanted) - apart):
        yield f"  {name}: in {stored[name].file.name}, and of no use here"


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a number"
