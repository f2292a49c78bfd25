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
HOST = "pinned_host"
"""What jax calls the memory of a host that its devices read and write."""
Use = Literal["product", "lookup", "whole"]
Weight = Float[Array | np.ndarray, "..."]


@dataclass(frozen=True)
class Placement:
    """The mesh, and what lies where on it.

    Attributes:
        mesh: of devices.
        activations: mesh axes that split each logical axis; others are whole.
        of_weight: mesh axes of a parameter's last axes, by its path and its rank.
            What the axes that split a batch split is put together where it is used,
            but for experts.
        microbatches: into which rows are divided that go through layers on several
            devices; None is as many as there are stages.
        staged: whether what is traced is mapped over stages.
    """

    mesh: Mesh
    activations: Mapping[str, tuple[str, ...]]
    of_weight: Callable[[str, int], Axes]
    microbatches: int | None = None
    staged: bool = False

    def split(self, axis: str | None, size: int) -> tuple[str, ...] | None:
        """Give the mesh axes that split a logical axis; None where it stays whole."""
        axes = self.activations.get(axis or "", ())
        ways = math.prod(self.mesh.shape[name] for name in axes)
        return axes if ways > 1 and size % ways == 0 else None

    def put(self, x: Array, *axes: tuple[str, ...] | str | None) -> Array:
        """Ask that an array lies so."""
        place = NamedSharding(self.mesh, PartitionSpec(*axes))
        return jax.lax.with_sharding_constraint(x, place)

    def on_parts(self, run: Callable, in_specs: Any, out_specs: Any) -> Callable:
        """Run a function on each device's parts of arrays; see `jax.shard_map`.

        Where stages are mapped, each device has one: its parts are handed over
        without that axis, as not all that a kernel does can be mapped.
        """
        over = functools.partial(jax.shard_map, mesh=self.mesh, check_vma=False)
        alone = over(run, in_specs=in_specs, out_specs=out_specs)
        if not self.staged:
            return alone
        mapped = jax.custom_batching.custom_vmap(alone)

        @mapped.def_vmap
        def of_stages(_: int, split: Any, *arrays: Any) -> Any:
            def of_one(*arrays: Any) -> Any:
                own = jax.tree.map(lambda a, s: a[0] if s else a, arrays, (*split,))
                return jax.tree.map(lambda made: made[None], run(*own))

            def staged(spec: PartitionSpec, split: Any = True) -> PartitionSpec:
                return PartitionSpec("stage", *spec) if split else spec

            def is_spec(node: Any) -> bool:
                return isinstance(node, PartitionSpec)

            specs = jax.tree.map(staged, in_specs, (*split,), is_leaf=is_spec)
            outs = jax.tree.map(staged, out_specs, is_leaf=is_spec)
            made = over(of_one, in_specs=specs, out_specs=outs)(*arrays)
            return made, jax.tree.map(lambda _: True, made)

        return mapped


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


def by_platform(forms: Mapping[str, Callable], *arrays: Any) -> Any:
    """Compute by the form of the mesh's platform.

    Where no mesh is traced for, as outside training, all forms are traced, and the one
    of the platform that the program is compiled for is kept.

    Args:
        forms: of "cpu", "gpu" and "tpu"; a platform that has none takes that of a CPU.
        arrays: that each takes.
    """
    plain = forms["cpu"]
    if here := platform():
        return forms.get(here, plain)(*arrays)
    called = {"gpu": ("cuda", "rocm")}  # as programs are compiled for
    others = {
        name: form
        for own, form in forms.items()
        for name in called.get(own, (own,))
        if form is not plain
    }
    return jax.lax.platform_dependent(*arrays, default=plain, **others)


def device_kind() -> str | None:
    """The kind of device that is traced for, as jax names it: "TPU v5 lite"."""
    found = _CURRENT.get()
    return None if found is None else found.mesh.devices.flat[0].device_kind


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
    return placement.put(x, *map(placement.split, axes, x.shape))


def ways(axis: str, size: int = 0) -> int:
    """Into how many parts a logical axis is split.

    Args:
        axis: its name.
        size: of it; one that can't be divided stays whole. 0 asks of any.
    """
    placement = current()
    if placement is None:
        return 1
    axes = placement.split(axis, size) or ()
    return math.prod(placement.mesh.shape[name] for name in axes)


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
    axes = placement.of_weight("/".join(("params", *path)), weight.ndim)
    spec = [None] * (weight.ndim - len(axes)) + list(axes)
    if not any(placement.mesh.shape[axis] > 1 for axis in spec if axis):
        return weight
    rows = set(placement.activations["batch"]) - set(placement.activations["experts"])
    kept = () if use == "whole" else set(spec) - rows
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
    """Run a kernel where its rows, heads and queries lie: nothing else can cut it.

    Each device has the keys and values of a whole text.

    Args:
        function: of queries (batch, heads, time, dim), then of other arrays (batch
            or 1, heads, ...) and arrays (batch, ...), to an array like the queries.
            What is made for each part of time by itself says where it lies, as
            ``manual_sharding_spec``, and comes first.
        heads, kv_heads: how many there are of queries and of keys.
    """
    placement = current()
    if placement is None:
        return function
    both = placement.split("heads", heads) and placement.split("heads", kv_heads)

    def placed(*arrays: Any) -> Array:
        made = [a for a in arrays if not hasattr(a, "ndim")]
        query, *others = arrays[len(made) :]
        rows = placement.split("batch", len(query))
        time = placement.split("time", query.shape[2])
        of_query = PartitionSpec(rows, both, time)
        parts = NamedSharding(placement.mesh, PartitionSpec(None, time))

        def place(array: Array) -> PartitionSpec:
            own = rows if len(array) == len(query) else None
            return PartitionSpec(own, *(both,) * (array.ndim == 4))

        run = placement.on_parts(
            function,
            in_specs=(
                *(each.manual_sharding_spec(parts) for each in made),
                of_query,
                *map(place, others),
            ),
            out_specs=of_query,
        )
        return run(*arrays)

    return placed


def first_of(axis: str, size: int) -> Array | int:
    """Where the part of a logical axis begins that a kernel runs on.

    Args:
        axis: its name.
        size: of the part.
    """
    placement = current()
    if placement is None:
        return 0
    return jax.lax.axis_index(placement.activations[axis]) * size
