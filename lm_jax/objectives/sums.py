"""What every objective gives."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
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


def penalties(
    sown: Mapping[str, Any], mask: Float[Array, "batch targets"]
) -> Float[Array, ""]:
    """Sum what the model sowed as "penalties", for each target of a row once.

    Divided by the targets, they are means over rows, whatever share of its tokens
    an objective predicts.

    Args:
        sown: arrays of (batch,), or (layers, batch): means over the tokens of a row.
        mask: 1 where a target counts.
    """
    leaves = jax.tree.leaves(sown.get("penalties", {}))
    counts = mask.sum(-1)
    return sum(((leaf * counts).sum() for leaf in leaves), start=jnp.zeros(()))
