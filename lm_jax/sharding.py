"""The mesh, and the ordered rules that place every array on it."""

import functools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lm_jax.bounds import SIZES, within
from lm_jax.data import WHOLE, Share
from lm_jax.errors import UserError, nearest
from lm_jax.kernels.placement import Axes, Placement, placed
from lm_jax.selectors import path_name, select

MESH = ("data", "fsdp", "tensor")


@dataclass(frozen=True)
class Sharding:
    """How many devices stand along each axis of the mesh, and what lies where.

    Attributes:
        data: devices that split the batch; -1 takes all that are left.
        fsdp: devices that split the batch and the parameters.
        tensor: devices that split the parameters only.
        rules: (expression, mesh axes of the array's last axes) pairs; the
            first expression found in the path of a parameter or of its
            optimizer state decides. () keeps a copy on each device.
    """

    data: int = -1
    fsdp: int = within(SIZES, 1)
    tensor: int = within(SIZES, 1)
    rules: tuple[tuple[str, Axes], ...] = (
        ("(output|down)/kernel$", ("tensor", "fsdp")),
        ("kernel$", ("fsdp", "tensor")),
        ("relative/embedding$", ()),  # a number for each head: few
        ("embedding$", (None, "fsdp")),
        (".*", ()),
    )

    def __post_init__(self) -> None:
        """Refuse a rule for an axis that no mesh has."""
        for expression, axes in self.rules:
            for axis in axes:
                if axis not in (None, *MESH):
                    there = nearest(str(axis), MESH)
                    raise UserError(
                        f"sharding.rules: '{expression}' names the axis {axis!r}, and "
                        f"a mesh has {', '.join(MESH)}.{there}"
                    )


BATCH = ("data", "fsdp")
# What splits each logical axis of an activation; all others are whole.
ACTIVATIONS = {
    "batch": BATCH,
    "heads": ("tensor",),
    "hidden": ("tensor",),
    "vocab": ("tensor",),
}


def make_mesh(sharding: Sharding, devices: list[jax.Device]) -> Mesh:
    """Arrange the devices in a mesh of (data, fsdp, tensor).

    Raises:
        UserError: when the devices can't be divided as asked.
    """
    sizes = [sharding.data, sharding.fsdp, sharding.tensor]
    if min(sharding.fsdp, sharding.tensor) < 1:
        raise UserError("sharding.fsdp and sharding.tensor must be 1 or more.")
    rest = sharding.fsdp * sharding.tensor
    if sizes[0] == -1:
        sizes[0] = len(devices) // rest
    if math.prod(sizes) != len(devices) or sizes[0] < 1:
        fault = "wants more" if rest > len(devices) else "doesn't use them all"
        many = f"are {len(devices)} devices" if len(devices) > 1 else "is one device"
        raise UserError(
            f"There {many}, and the mesh data={sharding.data}, fsdp={sharding.fsdp}, "
            f"tensor={sharding.tensor} {fault}. Let sharding.data be -1 and fsdp * "
            "tensor a divisor of the devices."
        )
    return jax.make_mesh(
        tuple(sizes),
        MESH,
        axis_types=(jax.sharding.AxisType.Auto,) * 3,
        devices=devices,
    )


def state_shardings(sharding: Sharding, mesh: Mesh, state: Any) -> Any:
    """A NamedSharding for each array of a train state (or of its shapes).

    Axes of a rule apply to the last axes of an array; the layer axis of a
    scanned stack stays whole. Optimizer statistics of another rank than their
    parameter (Adafactor's rows and columns) are copied.

    Raises:
        UserError: when a parameter's axis can't be divided by its mesh axis.
    """
    chosen = select(
        [(expression, list(axes)) for expression, axes in sharding.rules],
        state,
        "sharding.rules",
        Sharding().rules,
    )

    def place(path, array, axes):
        name = path_name(path)
        if name.startswith("carry/"):
            return batch_sharding(mesh)
        if array.ndim < len(axes):
            return NamedSharding(mesh, PartitionSpec())
        spec = [None] * (array.ndim - len(axes)) + axes
        for size, axis in zip(array.shape, spec, strict=True):
            if axis is not None and size % mesh.shape[axis]:
                if not re.match("params/", name):
                    return NamedSharding(mesh, PartitionSpec())
                raise UserError(
                    f"sharding.{axis}={mesh.shape[axis]} doesn't divide an axis of "
                    f"'{name}' {tuple(array.shape)}. Choose a divisor of {size}, or "
                    "give that parameter a rule of its own in sharding.rules."
                )
        return NamedSharding(mesh, PartitionSpec(*spec))

    return jax.tree_util.tree_map_with_path(place, state, chosen)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows of a batch split over the mesh."""
    return NamedSharding(mesh, PartitionSpec(BATCH))


def batch_ways(mesh: Mesh) -> int:
    """Into how many parts the mesh splits a batch."""
    return mesh.shape["data"] * mesh.shape["fsdp"]


def share_of(mesh: Mesh) -> Share:
    """The rows of a batch that the devices of this process read."""
    if not mesh.is_multi_process:
        return WHOLE
    ways = batch_ways(mesh)
    here: Any = batch_sharding(mesh).addressable_devices_indices_map((ways,))
    starts = {index[0].indices(ways)[0] for index in here.values()}
    return Share(tuple(sorted(starts)), ways)


def to_mesh(rows: Any, mesh: Mesh) -> Any:
    """Put this process's rows of a batch, any tree of arrays, where they belong."""
    placed = batch_sharding(mesh)
    if not mesh.is_multi_process:
        return jax.device_put(rows, placed)
    return jax.tree.map(
        lambda array: jax.make_array_from_process_local_data(placed, array), rows
    )


def whole_to_mesh(rows: Any, mesh: Mesh) -> Any:
    """Put a batch that every process has whole where its rows belong."""
    if not mesh.is_multi_process:
        return to_mesh(rows, mesh)
    places = share_of(mesh)
    return to_mesh(
        jax.tree.map(lambda array: np.asarray(array)[places.places(len(array))], rows),
        mesh,
    )


def brought_here(arrays: Any) -> Any:
    """Arrays that this process can use alone: whole, on a device of its own.

    All processes call it together.
    """

    def whole(array: Any) -> jax.Array:
        if array.is_fully_addressable:
            return array
        if not array.is_fully_replicated:
            everywhere = NamedSharding(array.sharding.mesh, PartitionSpec())
            array = jax.jit(lambda x: x, out_shardings=everywhere)(array)
        return array.addressable_data(0)

    return jax.tree.map(whole, arrays)


def on_mesh(step: Callable, sharding: Sharding, mesh: Mesh) -> Callable:
    """Trace a step for a mesh: what its activations and weights lie like is said."""

    def axes_of(path: str) -> Axes:
        rules = ((e, axes) for e, axes in sharding.rules if re.search(e, path))
        return next(rules, ("", ()))[1]

    placement = Placement(mesh, ACTIVATIONS, axes_of)

    @functools.wraps(step)
    def traced(*args: Any) -> Any:
        with placed(placement):
            return step(*args)

    return traced
