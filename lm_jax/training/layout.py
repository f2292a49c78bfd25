"""Where the parameters of a run lie on its mesh."""

import math
import re
from typing import Any, NamedTuple

import jax
from jax.sharding import NamedSharding

from lm_jax.selectors import (
    is_scanned,
    like_layers_once,
    path_name,
    unrolled_names,
)
from lm_jax.training.resolved import Setup


class Placed(NamedTuple):
    """A parameter of one layer or of several like ones.

    Attributes:
        name: its path.
        shape: of one layer.
        spec: axes of the mesh that split each axis of it; "" splits none. Layers of
            a scan are split over stages besides.
        bytes: of all these layers on each device.
    """

    name: str
    shape: tuple[int, ...]
    spec: tuple[str, ...]
    bytes: int


def layout(setup: Setup) -> list[Placed]:
    """Give the parameters of a run, layers that lie alike as one."""
    alike: dict[Any, tuple[list[str], list[int]]] = {}
    shapes = setup.placed_shapes().params
    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes):
        layers = int(is_scanned(path_name(path)))
        named = unrolled_names(path_name(path), leaf)
        name = re.sub(r"block_\d+/", "block/", named[0])
        kind = name, leaf.shape[layers:], _spec(leaf)[layers:]
        names, sizes = alike.setdefault(kind, ([], []))
        names += named
        sizes.append(on_device(leaf))
    return [
        Placed(like_layers_once(names)[0], shape, spec, sum(sizes))
        for (_, shape, spec), (names, sizes) in alike.items()
    ]


def on_device(tree: Any) -> int:
    """Bytes of placed shapes on each device."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )


def _spec(leaf: jax.ShapeDtypeStruct) -> tuple[str, ...]:
    """What splits each axis, by the axes of the mesh that are any."""
    sharding = leaf.sharding
    assert isinstance(sharding, NamedSharding)
    entries = [*sharding.spec, *[None] * (len(leaf.shape) - len(sharding.spec))]
    names = [(each,) if isinstance(each, str) else each or () for each in entries]
    size = sharding.mesh.shape
    return tuple("+".join(n for n in each if size[n] > 1) for each in names)
