"""The axes of a mesh, and the ordered rules that place every array on them."""

import functools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lm_jax.bounds import within
from lm_jax.data import WHOLE, Share
from lm_jax.errors import UserError, nearest
from lm_jax.kernels.placement import HOST, Axes, Placement, placed
from lm_jax.selectors import is_scanned, path_name, select

# From the slowest links to the fastest: neighbours of the last axis talk most.
MESH = ("stage", "replica", "data", "fsdp", "expert", "sequence", "tensor")
BATCH = MESH[:5]
# Stages split the layers of a scan alone, whatever the rules say.
RULED = MESH[1:]
# What splits each logical axis of an activation; all others are whole.
ACTIVATIONS = {
    "batch": BATCH,
    "time": ("sequence",),
    "heads": ("tensor",),
    "hidden": ("tensor",),
    "vocab": ("tensor",),
    "experts": ("expert",),
    "layers": ("stage",),
}
COUNT = f"[-1, {2**31 - 1}]"
RuleSet = Literal["fsdp", "zero1"]
Memory = Literal["device", "host"]


@dataclass(frozen=True)
class Sharding:
    """How many devices stand along each axis of the mesh, and what lies where.

    An axis of -1 takes all devices that are left. Data's does so unless another has it.

    Attributes:
        data: devices that split the batch.
        fsdp: devices that split the batch and the parameters.
        tensor: devices that split the parameters only.
        sequence: devices that split the tokens of each text; keys and values of
            attention are gathered from all of them.
        expert: devices that split the batch, and a mixture's experts: tokens travel
            to the experts that serve them.
        replica: devices that split the batch over slow links, slices of TPUs or
            hosts: parameters and what goes with them are whole on each side.
        stage: devices that split the layers of a scan, and the batch outside them.
        microbatches: parts of a batch (of each part, where it is computed in parts)
            that go through the stages one after the other, a multiple of them; None
            is as many.
        rule_set: what the rules split: "fsdp", all of a train state; "zero1", the
            optimizer's state and the averages alone, over data and fsdp both, while a
            step has whole parameters (Rajbhandari et al. 2020, 5.1).
        rules: (expression, mesh axes of the array's last axes) pairs; the
            first expression found in the path of a parameter or of its
            optimizer state decides. () keeps a copy on each device. A first axis
            "expert" is that of stacked experts, and left out where there are none.
        optimizer_memory: where the optimizer's arrays lie between steps: "device", or
            "host": in the memory of the host, from which a step fetches them.
    """

    data: int = within(COUNT, -1)
    fsdp: int = within(COUNT, 1)
    tensor: int = within(COUNT, 1)
    sequence: int = within(COUNT, 1)
    expert: int = within(COUNT, 1)
    replica: int = within(COUNT, 1)
    stage: int = within(COUNT, 1)
    microbatches: int | None = within("[1, inf)", None)
    rule_set: RuleSet = "fsdp"
    rules: tuple[tuple[str, Axes], ...] = (
        ("(class|token)_head/kernel$", ("fsdp", None)),  # three classes are three
        ("(output|down)/kernel$", ("expert", "tensor", "fsdp")),
        ("kernel$", ("expert", "fsdp", "tensor")),
        ("bias$", ("expert", None)),
        ("relative/embedding$", ()),  # a number for each head: few
        ("embedding$", (None, "fsdp")),
        (".*", ()),
    )
    optimizer_memory: Memory = "device"

    def __post_init__(self) -> None:
        """Refuse a rule for an axis that splits no parameter of one layer."""
        for expression, axes in self.rules:
            for axis in axes:
                if axis not in (None, *RULED):
                    there = nearest(str(axis), RULED)
                    raise UserError(
                        f"sharding.rules: '{expression}' names the axis {axis!r}, and "
                        f"a rule can name {', '.join(RULED)}.{there}"
                    )

    @property
    def least(self) -> int:
        """The devices that the sizes ask for, if nothing is left over."""
        return math.prod(max(1, getattr(self, axis)) for axis in MESH)

    def placed(self, path: str, rank: int, axes: Axes) -> tuple[Any, ...]:
        """Give what splits the last axes of an array that a rule was found for.

        Args:
            path: of the array in a train state.
            rank: of the array, without the layers of a scan.
            axes: of the rule.
        """
        if axes[:1] == ("expert",) and rank == len(axes) - 1:
            axes = axes[1:]
        if rank < len(axes):
            return ()
        if self.rule_set == "fsdp":
            return axes
        updated = path.startswith(("opt_state/", "average/"))
        over = ("data", "fsdp") if updated else None
        return tuple(over if axis == "fsdp" else axis for axis in axes)


def check_divides(mesh: Mesh, axis: str, size: int, array: str, advice: str) -> None:
    """Refuse an axis of the mesh that doesn't divide what it would split.

    Args:
        mesh: of the devices.
        axis: of it.
        size: of what it would split.
        array: what that is, in words.
        advice: what to do beside another number of devices.

    Raises:
        UserError: with the nearest numbers of devices that do.
    """
    ways = mesh.shape[axis]
    if size % ways == 0:
        return
    below = max(n for n in range(1, ways) if size % n == 0)
    above = [n for n in range(ways + 1, size + 1) if size % n == 0][:1]
    near = " or ".join(map(str, [below, *above]))
    raise UserError(
        f"sharding.{axis}={ways} doesn't divide {array}. The nearest that do: {near}; "
        f"{advice}."
    )


def state_shardings(sharding: Sharding, mesh: Mesh, state: Any) -> Any:
    """A NamedSharding for each array of a train state (or of its shapes).

    Axes of a rule apply to the last axes of an array; the layer axis of a
    scanned stack is split over stages. Optimizer statistics of another rank than their
    parameter (Adafactor's rows and columns) are copied.

    Raises:
        UserError: when a parameter's axis can't be divided by its mesh axis.
    """
    chosen = select(sharding.rules, state, "sharding.rules", Sharding().rules)

    def place(path, array, axes):
        name = path_name(path)
        if name.startswith("carry/"):
            return batch_sharding(mesh)
        axes = sharding.placed(name, array.ndim - is_scanned(name), axes)
        spec = [None] * (array.ndim - len(axes)) + list(axes)
        if is_scanned(name) and spec:
            spec[0] = "stage"
        for place, (size, axis) in enumerate(zip(array.shape, spec, strict=True)):
            if size % ways_of(mesh, axis) == 0:
                continue
            if name.startswith("params/"):
                array = f"an axis of '{name}' {tuple(array.shape)}"
                advice = "or give that parameter a rule of its own in sharding.rules"
                check_divides(mesh, axis, size, array, advice)
            spec[place] = None
        away = sharding.optimizer_memory == "host" and name.startswith("opt_state/")
        if re.search(r"\bblock_\d+/", name):
            _share_layer(spec, array.shape, mesh)
        memory = HOST if away and array.ndim else None
        return NamedSharding(mesh, PartitionSpec(*spec), memory_kind=memory)

    return jax.tree_util.tree_map_with_path(place, state, chosen)


def _share_layer(spec: list[Any], shape: tuple[int, ...], mesh: Mesh) -> None:
    """Split an array of one layer, as it is saved, over stages too, where it can be.

    Else every device would need room for all layers whenever they are saved.
    """
    for place, (size, axis) in enumerate(zip(shape, spec, strict=True)):
        axes = (axis,) if isinstance(axis, str) else axis or ()
        if mesh.shape["stage"] > 1 and size % ways_of(mesh, (*axes, "stage")) == 0:
            spec[place] = (*axes, "stage")
            return


def ways_of(mesh: Mesh, axes: str | tuple[str, ...] | None) -> int:
    """Into how many parts an entry of a PartitionSpec splits an axis."""
    names = (axes,) if isinstance(axes, str) else axes or ()
    return math.prod(mesh.shape[name] for name in names)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows of a batch split over the mesh."""
    return NamedSharding(mesh, PartitionSpec(BATCH))


def batch_ways(mesh: Mesh) -> int:
    """Into how many parts the mesh splits a batch."""
    return ways_of(mesh, BATCH)


def row_ways(sharding: Sharding, mesh: Mesh) -> int:
    """Of what the rows of a step are a multiple, so that they go round everywhere.

    Args:
        sharding: that may ask for more microbatches than there are stages.
        mesh: of the devices.
    """
    stages = mesh.shape["stage"]
    parts = sharding.microbatches if stages > 1 else None
    return batch_ways(mesh) * (parts or stages) // stages


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


def whole_to(arrays: Any, shardings: Any) -> Any:
    """Put arrays that every process has whole where they belong.

    Args:
        arrays: a tree of them, of any device that this process has.
        shardings: of each.
    """

    def put(array: Any, sharding: NamedSharding) -> jax.Array:
        if sharding.is_fully_addressable:
            return jax.device_put(array, sharding)
        here = np.asarray(array)
        return jax.make_array_from_callback(here.shape, sharding, here.__getitem__)

    return jax.tree.map(put, arrays, shardings)


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


def fetched(arrays: Any) -> Any:
    """Arrays of a host's memory in that of its devices, inside what is jitted."""
    return jax.tree.map(lambda x: jax.device_put(x, jax.memory.Space.Device), arrays)


def on_mesh(step: Callable, sharding: Sharding, mesh: Mesh) -> Callable:
    """Trace a step for a mesh: what its activations and weights lie like is said."""

    def axes_of(path: str, rank: int) -> Axes:
        rules = ((e, axes) for e, axes in sharding.rules if re.search(e, path))
        return sharding.placed(path, rank, next(rules, ("", ()))[1])

    placement = Placement(mesh, ACTIVATIONS, axes_of, sharding.microbatches)

    @functools.wraps(step)
    def traced(*args: Any) -> Any:
        with placed(placement):
            return step(*args)

    return traced
