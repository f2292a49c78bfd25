"""Rows that are sorted by what computes them, and put back in their places."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Moves(NamedTuple):
    """Where each token's copies go, and what comes to each place.

    Attributes:
        place: of each copy of a token; beyond the last is none.
        source: the token, times k, and which of its copies; too large in a gap.
    """

    place: Int[Array, "tokens k"]
    source: Int[Array, " rows"]


class Places(NamedTuple):
    """Where each token's row for each of its experts stands, in blocks of one expert.

    Attributes:
        moves: of the tokens to their rows.
        expert: of a block.
        rows: of each expert, with its gaps.
    """

    moves: Moves
    expert: Int[Array, " blocks"]
    rows: Int[Array, " experts"]


def places_of(chosen: Int[Array, "tokens k"], experts: int, block: int) -> Places:
    """Sort tokens by their expert, each expert from a block's beginning.

    Args:
        chosen: experts; one that there isn't has no row.
        experts: how many there are.
        block: how many rows of one expert stand together.
    """
    order = jnp.argsort(chosen.reshape(-1), stable=True).astype(jnp.int32)
    expert = chosen.reshape(-1)[order]
    sizes = (expert[:, None] == jnp.arange(experts)).sum(0, dtype=jnp.int32)
    blocks = -(-sizes // block)
    ends = jnp.cumsum(blocks)
    first = (ends - blocks) * block - (jnp.cumsum(sizes) - sizes)
    place = first[expert] + jnp.arange(order.size, dtype=jnp.int32)
    most = (order.size + experts * (block - 1)) // block
    place = jnp.where(expert < experts, place, most * block)
    of_block = (jnp.arange(most)[:, None] >= ends).sum(1, dtype=jnp.int32)
    return Places(
        moves_to(jnp.zeros_like(order).at[order].set(place), chosen, most * block),
        jnp.minimum(of_block, experts - 1),
        blocks * block,
    )


def moves_to(
    place: Int[Array, " copies"], chosen: Int[Array, "tokens k"], rows: int
) -> Moves:
    """Say what comes from where, of what goes where.

    Args:
        place: of each copy of the tokens; ``rows`` is none.
        chosen: what the copies are for.
        rows: how many places there are.
    """
    copies = jnp.arange(chosen.size, dtype=jnp.int32)
    source = jnp.full(rows, chosen.size, jnp.int32).at[place].set(copies, mode="drop")
    return Moves(place.reshape(chosen.shape), source)


# Each is the other's transpose; a gradient left to jax would scatter.
@jax.custom_vjp
def spread(
    rows: Float[Array, "tokens width"], moves: Moves
) -> Float[Array, "rows width"]:
    """Copy each token to its k places; gaps are zero."""
    token = moves.source // moves.place.shape[1]
    return rows.at[token].get(mode="fill", fill_value=0)


@jax.custom_vjp
def collected(
    rows: Float[Array, "rows width"], moves: Moves
) -> Float[Array, "tokens width"]:
    """Sum the k rows of each token."""
    return rows.at[moves.place].get(mode="fill", fill_value=0).sum(1)


spread.defvjp(
    lambda rows, moves: (spread(rows, moves), moves),
    lambda moves, gradient: (collected(gradient, moves), None),
)
collected.defvjp(
    lambda rows, moves: (collected(rows, moves), moves),
    lambda moves, gradient: (spread(gradient, moves), None),
)
