"""What every objective gives."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float


class Sums(NamedTuple):
    """Sums over a batch: whoever adds parts and devices divides once, at the end.

    Attributes:
        loss: what is minimised, times the weight.
        weight: what to divide the loss by: tokens, pairs, sentences.
        metrics: other sums, by name.
        memory: the model's memory after the batch, where it was given one.
    """

    loss: Float[Array, ""]
    weight: Float[Array, ""]
    metrics: dict[str, Float[Array, ""]]
    memory: Any = None


def penalties(sown: Mapping[str, Any]) -> Float[Array, ""]:
    """Sum what the model sowed as "penalties": an array of (batch,) each."""
    leaves = jax.tree.leaves(sown.get("penalties", {}))
    return sum((leaf.sum() for leaf in leaves), start=jax.numpy.zeros(()))
