"""The language of the tables: which arrays of theirs are which parameters of ours.

A row names parameters of ours and arrays of theirs, and the way between them. It is
read in both directions, so that what goes out is what came in.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

Array = Shaped[np.ndarray, "..."]


@dataclass(frozen=True)
class Same:
    """One array, as it is."""

    def read(self, arrays: Sequence[Array], model: Any) -> list[Array]:
        """Turn arrays of theirs into parameters of a model of ours."""
        return list(arrays)

    def write(self, arrays: Sequence[Array], model: Any) -> list[Array]:
        """Turn parameters of a model of ours into arrays of theirs."""
        return list(arrays)


@dataclass(frozen=True)
class Transposed(Same):
    """(features, inputs) there, (inputs, features) here."""

    def read(self, arrays, model):
        """Swap the axes."""
        return [x.swapaxes(-1, -2) for x in arrays]

    def write(self, arrays, model):
        """Swap them back."""
        return self.read(arrays, model)


@dataclass(frozen=True)
class Raised(Same):
    """What a norm multiplies by is stored without the one (Gemma)."""

    def read(self, arrays, model):
        """Add one."""
        return [x + np.float32(1) for x in arrays]

    def write(self, arrays, model):
        """Take one away."""
        return [x - np.float32(1) for x in arrays]


@dataclass(frozen=True)
class Fused(Same):
    """Queries, keys and values in one array: of (inputs, features), or a bias."""

    def read(self, arrays, model):
        """Cut the last axis in three."""
        return np.split(arrays[0], 3, axis=-1)

    def write(self, arrays, model):
        """Join them."""
        return [np.concatenate(arrays, axis=-1)]


@dataclass(frozen=True)
class FusedByHead(Same):
    """Queries, keys and values of each head after each other: (features, inputs)."""

    def read(self, arrays, model):
        """Give each the features of all heads."""
        x = arrays[0].reshape(model.heads, 3, -1, *arrays[0].shape[1:])
        parts = (x[:, k].reshape(-1, *x.shape[3:]) for k in range(3))
        return [part.T for part in parts]

    def write(self, arrays, model):
        """Put those of a head beside each other."""
        parts = [a.T.reshape(model.heads, 1, -1, *a.T.shape[1:]) for a in arrays]
        joined = np.concatenate(parts, axis=1)
        return [joined.reshape(-1, *joined.shape[3:])]


@dataclass(frozen=True)
class Stacked(Same):
    """An array for each expert there, one of all experts here."""

    def read(self, arrays, model):
        """Stack them, each transposed."""
        return [np.stack([x.T for x in arrays])]

    def write(self, arrays, model):
        """Take them apart."""
        return [x.T for x in arrays[0]]


@dataclass(frozen=True)
class After(Same):
    """Rows from a certain one on; those before it are of no use.

    Attributes:
        first: the row, counted from 0.
    """

    first: int = 2

    def read(self, arrays, model):
        """Leave the first rows out."""
        return [arrays[0][self.first :]]

    def write(self, arrays, model):
        """Put zeros there."""
        rest = [(0, 0)] * (arrays[0].ndim - 1)
        return [np.pad(arrays[0], [(self.first, 0), *rest])]


@dataclass(frozen=True)
class OfOneRow(Same):
    """(1, n) there, (n,) here."""

    def read(self, arrays, model):
        """Give the row."""
        return [arrays[0][0]]

    def write(self, arrays, model):
        """Give a matrix of the row."""
        return [arrays[0][None]]


class Row(NamedTuple):
    """Parameters of ours that are arrays of theirs.

    Attributes:
        ours: paths, such as "block_{i}/up/kernel"; {i} is each layer.
        theirs: names; {e} is each expert.
        way: from the one to the other.
        unless: a path; a model that has it has another row.
    """

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    way: Same = Same()
    unless: str = ""

    def numbered(self, layer: int, experts: int) -> "Row":
        """The row of one layer, with all its experts."""
        ours = tuple(path.replace("{i}", str(layer)) for path in self.ours)
        theirs = [name.replace("{i}", str(layer)) for name in self.theirs]
        theirs = [
            name.replace("{e}", str(expert))
            for name in theirs
            for expert in range(experts if "{e}" in name else 1)
        ]
        unless = self.unless.replace("{i}", str(layer))
        return Row(ours, tuple(theirs), self.way, unless)


def same(ours: str, theirs: str) -> Row:
    """An array as it is."""
    return Row((ours,), (theirs,))


def dense(ours: str, theirs: str) -> list[Row]:
    """A dense layer: its kernel, and its bias where it has one."""
    kernel = Row((f"{ours}/kernel",), (f"{theirs}.weight",), Transposed())
    return [kernel, same(f"{ours}/bias", f"{theirs}.bias")]


def norm(ours: str, theirs: str, way: Same = Same()) -> list[Row]:
    """A norm: its scale, and its shift where it has one."""
    scale = Row((f"{ours}/scale",), (f"{theirs}.weight",), way)
    return [scale, same(f"{ours}/bias", f"{theirs}.bias")]


def fitting(
    table: Sequence[Row], shapes: Mapping[str, tuple[int, ...]], model: Any
) -> Iterator[Row]:
    """Give the rows of a table that a model has parameters for, layer by layer.

    Args:
        table: of its architecture.
        shapes: of the model's parameters, by path.
        model: ours.
    """
    experts = getattr(model.feedforward, "experts", 0)
    encoder = getattr(model, "encoder", None)
    layers = max(model.layers, encoder.layers or 0 if encoder else 0)
    for row in table:
        for layer in range(layers if "{i}" in row.ours[0] else 1):
            numbered = row.numbered(layer, experts)
            there = all(path in shapes for path in numbered.ours)
            if there and numbered.unless not in shapes:
                yield numbered


def their_shapes(
    row: Row, shapes: Mapping[str, tuple[int, ...]], model: Any
) -> dict[str, tuple[int, ...]]:
    """The shapes that a row's arrays must have, by name."""
    empty = [np.broadcast_to(np.float32(0), shapes[path]) for path in row.ours]
    written = row.way.write(empty, model)
    return {k: x.shape for k, x in zip(row.theirs, written, strict=True)}
