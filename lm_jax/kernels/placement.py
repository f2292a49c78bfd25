"""Where arrays lie while a step is traced: all that models and kernels know of a mesh.

`lm_jax.sharding` says it, around a whole step; without it nothing here does anything.
"""

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

Axes = tuple[str | None, ...]
Use = Literal["product", "lookup", "whole"]
Weight = Float[Array | np.ndarray, "..."]


@dataclass(frozen=True)
class Placement:
    """The mesh, and what lies where on it.

    Attributes:
        mesh: of devices.
        activations: mesh axes that split each logical axis; others are whole.
        of_weight: mesh axes of a parameter's last axes, by its path. What the axes
            that split a batch split is put together where it is used.
    """

    mesh: Mesh
    activations: Mapping[str, tuple[str, ...]]
    of_weight: Callable[[str], Axes]

    def ways(self, axis: str) -> int:
        """Into how many parts a logical axis is split."""
        axes = self.activations.get(axis, ())
        return math.prod(self.mesh.shape[name] for name in axes)

    def split(self, axes: tuple[str, ...], size: int) -> tuple[str, ...] | None:
        """Give the mesh axes that an axis is split by; None where they don't divide."""
        ways = math.prod(self.mesh.shape[name] for name in axes)
        return axes if size % ways == 0 else None

    def put(self, x: Array, *axes: tuple[str, ...] | str | None) -> Array:
        """Ask that an array lies so."""
        place = NamedSharding(self.mesh, PartitionSpec(*axes))
        return jax.lax.with_sharding_constraint(x, place)


_CURRENT: ContextVar[Placement | None] = ContextVar("placement", default=None)


@contextmanager
def placed(placement: Placement | None) -> Iterator[None]:
    """Trace what stands inside for a mesh."""
    token = _CURRENT.set(placement)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def current() -> Placement | None:
    """The placement that is traced for, where there are several devices."""
    found = _CURRENT.get()
    return found if found is not None and found.mesh.size > 1 else None


def several_devices() -> bool:
    """Whether arrays lie on several devices."""
    return current() is not None


def platform() -> str | None:
    """The platform of the mesh that is traced for: "cpu", "gpu" or "tpu"."""
    found = _CURRENT.get()
    return None if found is None else found.mesh.devices.flat[0].platform


def constrain(x: Array, *axes: str | None) -> Array:
    """Say what the axes of an activation are, so that it lies as they do.

    Left to itself, the partitioner takes the parameters' split for that of the
    activations: it copies the batch to every device, and sums activations over them.

    Args:
        x: an activation.
        axes: logical ones, from the first: "batch", "time", "width", "heads",
            "hidden", "vocab". An axis that its mesh axes don't divide stays whole, as
            do None and those that are left out.
    """
    placement = current()
    if placement is None:
        return x
    found = [placement.activations.get(axis or "", ()) for axis in axes]
    return placement.put(x, *map(placement.split, found, x.shape))


def ways(axis: str) -> int:
    """Into how many parts a logical axis is split."""
    placement = current()
    return 1 if placement is None else placement.ways(axis)


def gathered(
    weight: Weight,
    path: tuple[str, ...],
    dtype: Any,
    use: Use = "product",
) -> Weight:
    """Put a weight together that lies in parts on the devices that split rows.

    It travels in the type to compute in, one layer at a time, and its gradient goes
    back to where it lies. A weight that is whole comes back as it is.

    Args:
        weight: a parameter.
        path: of it, as in a train state, without "params".
        dtype: to compute in.
        use: "product" leaves the parts that split columns or rows of a product
            where they are. So does "lookup", which sums the gradient before it is
            parted: of rows that were looked up, the partitioner would else copy all
            to every device. "whole" leaves no part anywhere.
    """
    placement = current()
    if placement is None:
        return weight
    axes = placement.of_weight("/".join(("params", *path)))
    spec = [None] * (weight.ndim - len(axes)) + list(axes)[: weight.ndim]
    if not any(placement.mesh.shape[axis] > 1 for axis in spec if axis):
        return weight
    kept = () if use == "whole" else set(spec) - set(placement.activations["batch"])
    move = _Move(
        placement,
        apart=tuple(spec),
        whole=tuple(axis if axis in kept else None for axis in spec),
        dtype=jnp.dtype(dtype),
        summed=use != "product",
    )
    return _moved(move, weight)


class _Move(NamedTuple):
    """Where a weight lies, where it is used, and whether its gradient is summed there.

    See `gathered`.
    """

    placement: Placement
    apart: Axes
    whole: Axes
    dtype: Any
    summed: bool


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _moved(move, weight):
    put = move.placement.put
    return put(put(weight, *move.apart).astype(move.dtype), *move.whole)


def _moved_forward(move, weight):
    return _moved(move, weight), None


def _moved_backward(move, _, gradient):
    put = move.placement.put
    gradient = put(gradient, *move.whole) if move.summed else gradient
    return (put(gradient, *move.apart).astype(jnp.float32),)


_moved.defvjp(_moved_forward, _moved_backward)


def on_each_device(function: Callable, heads: int, kv_heads: int) -> Callable:
    """Run a kernel where its rows and heads lie: the partitioner can't cut it.

    Args:
        function: of arrays (batch, heads, ...) and arrays (batch, ...), to one of the
            former.
        heads, kv_heads: how many there are of queries and of keys.
    """
    placement = current()
    if placement is None:
        return function
    rows = placement.activations["batch"]
    split = placement.activations["heads"]
    both = placement.split(split, heads) and placement.split(split, kv_heads)
    spec = PartitionSpec(rows, both or None)

    def placed(*arrays: Array) -> Array:
        specs = tuple(spec if a.ndim == 4 else PartitionSpec(rows) for a in arrays)
        run = jax.shard_map(
            function,
            mesh=placement.mesh,
            in_specs=specs,
            out_specs=spec,
            check_vma=False,
        )
        return run(*arrays)

    return placed
