"""The devices, arranged in a mesh as a sharding asks."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import jax
from jax.experimental.mesh_utils import create_hybrid_device_mesh
from jax.sharding import Mesh

from lm_jax.errors import UserError
from lm_jax.sharding import MESH, Sharding


def make_mesh(sharding: Sharding, devices: list[jax.Device]) -> Mesh:
    """Arrange the devices in a mesh.

    Raises:
        UserError: when the devices can't be divided as asked.
    """
    return arranged(_sizes(sharding, len(devices)), devices)


def arranged(sizes: dict[str, int], devices: Sequence[Any]) -> Mesh:
    """Arrange devices so that one axis alone crosses the links between slices.

    Args:
        sizes: of each axis of the mesh.
        devices: of one slice, or of several.

    Raises:
        UserError: when no axis can cross them, or one would cut an axis of the chips.
    """
    shape, types = tuple(sizes.values()), (jax.sharding.AxisType.Auto,) * len(MESH)
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    inside = within_slice(sizes, slices)
    try:
        if slices == 1:
            return jax.make_mesh(shape, MESH, axis_types=types, devices=devices)
        within_one = tuple(inside.values())
        between = tuple(n // m for n, m in zip(shape, within_one, strict=True))
        placed = create_hybrid_device_mesh(within_one, between, devices)
    except NotImplementedError as error:
        raise _across_chips(sizes, inside, devices) from error
    return Mesh(placed, MESH, axis_types=types)


def crossing(sizes: Mapping[str, int], slices: int) -> str:
    """Name the axis of a mesh that crosses the links between slices.

    Raises:
        UserError: none can.
    """
    for axis in ("replica", "stage", "data", "fsdp"):
        if sizes.get(axis, 1) % slices == 0:
            return axis
    raise UserError(
        f"The devices are {slices} slices with slow links between them: let "
        f"sharding.replica be {slices}."
    )


def within_slice(sizes: Mapping[str, int], slices: int) -> dict[str, int]:
    """The sizes of a mesh's axes inside one of several slices."""
    if slices == 1:
        return dict(sizes)
    over = crossing(sizes, slices)
    return {axis: n // slices if axis == over else n for axis, n in sizes.items()}


def _across_chips(
    sizes: dict[str, int], inside: dict[str, int], devices: Sequence[Any]
) -> UserError:
    """Say which axis of a mesh would take a part of an axis of a slice's chips."""
    places = zip(*(device.coords for device in devices), strict=True)
    own = [max(along) - min(along) + 1 for along in places]
    whole = sorted(
        {math.prod(n) for some in range(1 + len(own)) for n in combinations(own, some)}
    )
    parted = {axis: n for axis, n in inside.items() if n not in whole} or inside
    axis = max(parted, key=lambda axis: parted[axis])
    there = [n * sizes[axis] // inside[axis] for n in whole]
    return UserError(
        f"sharding.{axis}={sizes[axis]}: the chips stand {' x '.join(map(str, own))}, "
        "and an axis of the mesh takes whole axes of theirs. Sizes that can be had: "
        f"{', '.join(map(str, there))}."
    )


def _sizes(sharding: Sharding, devices: int) -> dict[str, int]:
    """The size of each axis, with what is left over for the one that is -1."""
    sizes = {axis: getattr(sharding, axis) for axis in MESH}
    if 0 in sizes.values():
        axis = next(axis for axis, size in sizes.items() if size == 0)
        raise UserError(f"sharding.{axis}=0: give 1 or more, or -1 for what is left.")
    left = [axis for axis in MESH if sizes[axis] == -1]
    if len(left) > 1 and "data" in left:
        left.remove("data")
        sizes["data"] = 1
    if len(left) > 1:
        raise UserError(
            f"sharding.{left[0]} and sharding.{left[1]} are both -1, and one alone can "
            "take the devices that are left."
        )
    rest = math.prod(size for size in sizes.values() if size > 0)
    sizes |= dict.fromkeys(left, devices // rest)
    if math.prod(sizes.values()) != devices:
        fault = "wants more devices" if rest > devices else "doesn't use them all"
        many = f"are {devices}" if devices > 1 else "is one device"
        asked = {axis: getattr(sharding, axis) for axis in ("data", "fsdp", "tensor")}
        asked |= {axis: n for axis, n in sizes.items() if n > 1 and axis not in asked}
        named = ", ".join(f"{axis}={size}" for axis, size in asked.items())
        raise UserError(
            f"The mesh {named} {fault}, and there {many}. {_fitting(sizes, devices)}"
        )
    return sizes


def _fitting(sizes: dict[str, int], devices: int) -> str:
    """Say what to type, so that a mesh fits so many devices."""
    split = {axis: size for axis, size in sizes.items() if size > 1 and axis != "data"}
    wanted = math.prod(split.values())
    virtual = f"Begin with JAX_NUM_CPU_DEVICES={wanted} for so many of a CPU, or type "
    if len(split) != 1:
        return (
            "Let sharding.data be -1 and the product of the others a divisor of "
            f"{devices}."
        )
    ((axis, size),) = split.items()
    size = max(n for n in range(1, size + 1) if devices % n == 0)
    return f"{virtual if devices == 1 else 'Type '}--{axis} {size}"
