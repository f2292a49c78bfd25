"""Weights of few bits, seen by a model as the float32 matrices that they stand for."""

from typing import Any, Literal, get_args

import flax.struct
import jax
import jax.numpy as jnp
from flax.core import meta
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Float32

from lm_jax.errors import NotFinite
from lm_jax.selectors import is_scanned, path_name

Integers = Literal["int8", "int4"]


class Quantized(flax.struct.PyTreeNode, meta.AxisMetadata):
    """A matrix as small integers, and a scale for each of its channels.

    Flax opens such a box where a module takes its parameter. So a compiled function is
    handed integers and makes the float32 matrix where it is read, and who calls a model
    need not know.

    Attributes:
        values: integers, of the matrix's shape.
        scale: float32, with 1 in the place of the axis that shares one.
    """

    # Any: the same tree also holds shapes and shardings.
    values: Any
    scale: Any

    def unbox(self) -> Float32[Array, "..."]:
        """Give the matrix: each number is its own times the scale of its channel."""
        return self.values.astype(jnp.float32) * self.scale

    def replace_boxed(self, val: Any) -> Any:
        """Give another matrix as it is: nothing is rounded unasked."""
        return val

    def add_axis(self, index: int, params: dict[Any, Any]) -> "Quantized":
        """Nothing is known of axes, as those of scanned layers."""
        return self

    def remove_axis(self, index: int, params: dict[Any, Any]) -> "Quantized":
        """Nothing is known of axes, as those of scanned layers."""
        return self


def quantize(params: Any, to: Integers = "int8") -> Any:
    """Round matrices to small integers, symmetrically, with a scale for each channel.

    A kernel has a scale for each output, any other table (embeddings, learned
    positions) for each row: the largest magnitude there over 127, or 7 of int4, so that
    no number moves by more than half a scale ("absmax": Dettmers et al. 2022, section
    2). Each layer and expert of a stack has scales of its own. What has one axis
    (biases, norms) stays as it is, and so do experts' biases and the few numbers of
    relative positions.

    Args:
        params: float32, by dictionaries; layers may be scanned.
        to: the type of the integers.

    Returns:
        The same, with a `Quantized` in the place of each matrix.

    Raises:
        NotFinite: a matrix has an infinite number, or none.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, array: _rounded(path_name(path), array, jnp.dtype(to)), params
    )


def _rounded(name: str, array: Float[Array, "..."], kind: Any) -> Any:
    whole = name.endswith(("bias", "relative/embedding"))
    if array.ndim - is_scanned(name) < 2 or whole:
        return array
    highest = jnp.abs(array).max(axis=_shared(name), keepdims=True)
    if not jnp.isfinite(highest).all():
        raise NotFinite(
            f"'{name}' has numbers that are infinite or none: there is no scale for "
            "them. Take an earlier checkpoint (--step)."
        )
    largest = jnp.iinfo(kind).max
    scale = highest.astype(jnp.float32) / largest
    values = jnp.round(array / jnp.where(scale == 0, 1, scale))
    return Quantized(values.clip(-largest, largest).astype(kind), scale)


def _shared(name: str) -> int:
    """The axis along which numbers share a scale: a kernel's inputs, a row's own."""
    return -2 if name.endswith("kernel") else -1


def dequantized(params: Any) -> Any:
    """Give the float32 matrices that parameters stand for."""
    return meta.unbox(params)


def is_quantized(params: Any) -> bool:
    """Whether some of the parameters are small integers."""
    return any(
        leaf.dtype.name in get_args(Integers) for leaf in jax.tree.leaves(params)
    )


def as_read(tree: Any) -> Any:
    """Put boxes where a checkpoint, which knows dictionaries alone, had them."""
    if not isinstance(tree, dict):
        return tree
    if tree.keys() == {"values", "scale"} and is_quantized(tree):
        return Quantized(**tree)
    return {name: as_read(value) for name, value in tree.items()}


def placed_as(params: Any, shardings: Any) -> Any:
    """Say where each array of parameters lies, by where whole matrices do.

    Args:
        params: of which some may be `Quantized`.
        shardings: of the matrices. Scales are copied.
    """

    def place(sharding: NamedSharding, part: Any) -> Any:
        if not isinstance(part, Quantized):
            return sharding
        return Quantized(sharding, NamedSharding(sharding.mesh, PartitionSpec()))

    return jax.tree.map(place, shardings, params)
