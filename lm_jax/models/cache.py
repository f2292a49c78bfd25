"""What is left of the tokens before: keys and values by slots, or a carried state."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from lm_jax.models.patterns import Shared, same_segment


class Cache(NamedTuple):
    """The cache of a stack of blocks.

    A slot says itself what stands in it, so texts can lie side by side in a row,
    told apart by their segments, and a slot can be used again.

    Attributes:
        positions: of the token in each slot; None where the state of the layers has
            a constant size.
        segments: of the token in each slot; 0 is an empty slot.
        layers: of each block; stacked if scanned.
    """

    positions: Int[Array, "batch slots"] | None
    segments: Int[Array, "batch slots"] | None
    layers: Any


def written(
    cache: Cache,
    positions: Int[Array, "batch time"],
    segments: Int[Array, "batch time"] | None,
    slots: Int[Array, "batch time"] | None,
) -> tuple[Shared, Cache]:
    """Say which tokens stand in which slots; give what blocks share then.

    Args:
        cache: with slots.
        positions: where each new token stands.
        segments: of each; 0 is padding, of which nothing is remembered. None is 1.
        slots: where each is written; None is at its position.
    """
    standing, of_slots = cache.positions, cache.segments
    assert standing is not None and of_slots is not None
    rows = jnp.arange(positions.shape[0])[:, None]
    segments = jnp.ones_like(positions) if segments is None else segments
    slots = positions if slots is None else slots
    slots = jnp.where(segments == 0, standing.shape[1], slots)
    standing = standing.at[rows, slots].set(positions, mode="drop")
    of_slots = of_slots.at[rows, slots].set(segments, mode="drop")
    before = standing[:, None, None] <= positions[:, None, :, None]
    mask = before & same_segment(segments, of_slots)
    shared = Shared(positions, standing, mask, segments, slots)
    return shared, Cache(standing, of_slots, cache.layers)


def continued(carry: Any, batch: dict[str, Array]) -> Any:
    """Clear the carry of the rows that begin anew: "starts" is 1 there.

    Args:
        carry: arrays (rows, ...), by `empty_cache` or from the batch before.
        batch: its "starts" (rows,) are 0 where a row goes on.
    """

    def clear(part):
        starts = batch["starts"].reshape(-1, *[1] * (part.ndim - 1))
        return jnp.where(starts > 0, jnp.zeros_like(part), part)

    return jax.tree.map(clear, carry)
