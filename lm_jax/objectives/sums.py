"""What every objective gives."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from lm_jax.models.dropout import example_keys


class Sums(NamedTuple):
    """Sums over a batch: whoever adds parts and devices divides once, at the end.

    Attributes:
        loss: what is minimised, times the weight.
        weight: what to divide the loss by: tokens, pairs, sentences.
        metrics: other sums, by name.
        carry: what is left of the batch for the next one, where that is carried.
    """

    loss: Float[Array, ""]
    weight: Float[Array, ""]
    metrics: dict[str, Float[Array, ""]]
    carry: Any = None


def applied(
    objective: Any,
    model: nn.Module,
    params: Any,
    batch: dict[str, Array],
    key: Key[Array, ""] | None,
    carry: Any,
    method: Any = None,
) -> tuple[tuple[Any, Any], Mapping[str, Any]]:
    """Apply what an objective predicts to parameters, with the dropout of a step.

    Args:
        objective: whose method is applied.
        model: whose.
        params: its parameters.
        batch: with "row", the number of each example in the step's batch.
        key: of the step; None is no dropout.
        carry: what is left of the batch before.
        method: of the objective; None is ``predict``.

    Returns:
        What the method gives, as what was predicted and the carry; and what the
        model sowed.
    """
    keys = None if key is None else example_keys(key, batch["row"])
    rngs = None if key is None else {"shared": key}
    return model.apply(
        {"params": params},
        batch,
        carry,
        keys,
        method=method or objective.predict,
        rngs=rngs,
        # Penalties are for training: an evaluation makes none.
        mutable=[] if key is None else ["penalties"],
    )


def penalties(
    sown: Mapping[str, Any], mask: Float[Array, "batch targets"]
) -> Float[Array, ""]:
    """Sum what the model sowed as "penalties", for each target of a row once.

    Divided by the targets, they are means over rows, whatever share of its tokens
    an objective predicts.

    Args:
        sown: arrays of (batch,), or (layers, batch): means over the tokens of a row.
            A row with several texts, as passages, has as many, one after the other;
            "counted" is 1 for those that count, where some don't.
        mask: 1 where a target counts.
    """
    found = dict(sown.get("penalties", {}))
    counted, counts = jax.tree.leaves(found.pop("counted", ())), mask.sum(-1)
    leaves = jax.tree.leaves(found)

    def of_rows(leaf: Float[Array, "*layers texts"]) -> Float[Array, "*layers batch"]:
        texts = leaf.reshape(*leaf.shape[:-1], len(counts), -1)
        if not counted:
            return texts.mean(-1)
        weights = counted[0].reshape(len(counts), -1)
        return (texts * weights).sum(-1) / jnp.maximum(weights.sum(-1), 1.0)

    return sum(((of_rows(leaf) * counts).sum() for leaf in leaves), start=jnp.zeros(()))
