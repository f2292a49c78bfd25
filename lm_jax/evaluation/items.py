"""The sums of each row of a split, where `whole_split` has those of all."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from lm_jax.data.windows import Windows
from lm_jax.sharding import to_mesh

SUMMED = {"loss": "nats", "accuracy": "correct", "masked_accuracy": "correct"}
"""Scores that are a sum over items, over their weight: the sum's name."""


class Items(NamedTuple):
    """Sums of each item of a split: a text, a window of a stream.

    Attributes:
        numbers: of the items in their split.
        weight: what each counts: texts, or tokens.
        sums: such as "nats" and "correct", by name.
    """

    numbers: Int[np.ndarray, " items"]
    weight: Float[np.ndarray, " items"]
    sums: Mapping[str, Float[np.ndarray, " items"]]

    def mean(self, score: str) -> float:
        """The score of the whole split, if it is in `SUMMED`."""
        return float(self.sums[SUMMED[score]].sum()) / float(self.weight.sum())


def each_row(
    evaluation_step: Callable[[Any, dict, Any], tuple[dict, Any]],
    params: Any,
    batches: Windows,
    mesh: Mesh,
    progress: Callable[[str, int, int], None] | None = None,
) -> Items:
    """Sum an objective's metrics over each row of a split alone.

    A row is a batch of its own, so that any objective that sums has items; many of them
    are computed together.

    Args:
        evaluation_step: (params, batch, carry) -> (sums, carry).
        params: the parameters.
        batches: the split.
        mesh: where to compute.
        progress: told (description, done, total).
    """

    @jax.jit
    def step(params: Any, batch: dict) -> dict:
        alone = jax.tree.map(lambda field: field[:, None], batch)
        return jax.vmap(lambda row: evaluation_step(params, row, None)[0])(alone)

    found, told = [], progress or (lambda *_: None)
    for index in range(len(batches)):
        told("scoring items", index, len(batches))
        sums = jax.device_get(step(params, to_mesh(batches[index], mesh)))
        real = len(batches.numbers(index))
        found.append({name: column[:real] for name, column in sums.items()})
    told("scoring items", len(batches), len(batches))
    numbers = [batches.numbers(index) for index in range(len(batches))]
    sums = {
        name: np.concatenate([part[name] for part in found]).astype(np.float64)
        for name in found[0]
    }
    return Items(np.concatenate(numbers), sums.pop("weight"), sums)
