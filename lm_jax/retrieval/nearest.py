"""Exact search: the rows of a table with the largest inner products."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, Float32, Int

from lm_jax.sharding import BATCH, batch_ways

# What a device holds at a time, whatever the size of the table and of the queries.
_ROWS, _QUERIES = 16384, 256
_ROW, _WHOLE = PartitionSpec(BATCH), PartitionSpec()

Found = tuple[
    Int[np.ndarray, "queries found"],
    Float32[np.ndarray, "queries found"],
]


def nearest_rows(
    queries: Float32[np.ndarray, "queries width"],
    table: Float[np.ndarray, "rows width"],
    depth: int,
    mesh: Mesh,
    block: int = _ROWS,
) -> Found:
    """Find the rows with the largest inner products with each query.

    All rows are looked at, in blocks that the devices share; equal ones stand in their
    order. The products are made in float32.

    Args:
        queries: a vector a row.
        table: float32 or float16; it may be memory-mapped.
        depth: how many to find, at most.
        mesh: of the devices.
        block: rows that a device looks at a time.

    Returns:
        The numbers of the rows and their products, the largest first.
    """
    found = [
        _found(queries[first : first + _QUERIES], table, depth, mesh, block)
        for first in range(0, len(queries), _QUERIES)
    ]
    places, scores = zip(*found, strict=True)
    return np.concatenate(places), np.concatenate(scores)


def _found(
    queries: np.ndarray, table: np.ndarray, depth: int, mesh: Mesh, block: int
) -> Found:
    count, depth = len(queries), min(depth, len(table))
    asked = np.pad(queries, [(0, -count % 8), (0, 0)])  # few shapes to compile
    ways = batch_ways(mesh)
    rows = min(block, -(-len(table) // ways)) * ways
    best: list[np.ndarray] = []
    for first in range(0, len(table), rows):
        part = np.asarray(table[first : first + rows])
        real = len(part)
        part = np.pad(part, [(0, rows - real), (0, 0)])
        placed = jax.device_put(part, NamedSharding(mesh, _ROW))
        look = _look(mesh, min(depth, rows // ways))
        places, scores = map(np.asarray, look(asked, placed, np.int32(real)))
        best = _merged(best, [places.astype(np.int64) + first, scores], depth)
    return best[0][:count], best[1][:count]


def _merged(
    best: list[np.ndarray], more: list[np.ndarray], depth: int
) -> list[np.ndarray]:
    """Keep the largest of what was found before and what is found now."""
    both = more
    if best:
        both = [np.concatenate(p, axis=1) for p in zip(best, more, strict=True)]
    order = np.argsort(-both[1], axis=1, kind="stable")[:, :depth]
    return [np.take_along_axis(part, order, axis=1) for part in both]


@functools.lru_cache
def _look(mesh: Mesh, depth: int) -> Any:
    """Compile the search of a block: each device its rows, the best of them each."""

    def local(queries: Any, rows: Any, real: Any) -> Any:
        with jax.default_matmul_precision("float32"):
            scores = queries @ rows.astype(jnp.float32).T
        first = jax.lax.axis_index(BATCH) * len(rows)
        places = first + jnp.arange(len(rows))
        scores = jnp.where(places < real, scores, -jnp.inf)
        best, at = jax.lax.top_k(scores, depth)
        return first + at, best

    return jax.jit(
        jax.shard_map(
            local,
            mesh=mesh,
            in_specs=(_WHOLE, _ROW, _WHOLE),
            out_specs=PartitionSpec(None, BATCH),
        )
    )
