"""Texts to vectors, by a bi-encoder."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float32, Int

from lm_jax.data.examples import side_by_side
from lm_jax.data.passages import cut
from lm_jax.errors import NotFinite
from lm_jax.platform import products_of
from lm_jax.sharding import batch_ways, to_mesh

Side = Literal["query", "passage"]
Progress = Callable[[str, int, int], None]
_TOKENS = 8192  # of a batch, about


def read_texts(
    model: Any,
    params: Any,
    texts: Sequence[Int[np.ndarray, " _"]],
    side: Side,
    length: int,
    mesh: Mesh,
    progress: Progress | None = None,
) -> Float32[np.ndarray, "texts width"]:
    """Give the vector of each text, in their order.

    Texts of like length are read together, padded to one of a few lengths, so that a
    handful of programs is compiled.

    Args:
        model: has ``query_vectors`` and ``passage_vectors``.
        params: its parameters.
        texts: tokens of each.
        side: which tower reads them.
        length: tokens that are read of each, at most.
        mesh: devices that share each batch.
        progress: told (description, texts done, texts in all).

    Raises:
        NotFinite: a vector is infinite or no number.
    """
    read, params = _reader(model, side, mesh), _spread(params, mesh)
    told = progress or (lambda *_: None)
    vectors, done = None, 0
    for places, rows in _batches([cut(ids, length) for ids in texts], length, mesh):
        found = np.asarray(read(params, *to_mesh(rows, mesh)), np.float32)
        if vectors is None:
            vectors = np.empty((len(texts), found.shape[1]), np.float32)
        vectors[places] = found[: len(places)]
        done += len(places)
        told(f"reading texts ({side})", done, len(texts))
    assert vectors is not None
    if not np.isfinite(vectors).all():
        raise NotFinite(
            f"Vectors of a {side} are infinite or not numbers: the parameters are not "
            "finite, or too large. Take an earlier checkpoint (--step)."
        )
    return vectors


@functools.lru_cache
def _reader(model: Any, side: Side, mesh: Mesh) -> Any:
    """Jit what reads texts of one side: once, however often it is asked for."""

    def read(params: Any, tokens: Any, segments: Any) -> Any:
        with products_of(model):
            method = f"{side}_vectors"
            return model.apply({"params": params}, tokens, segments, method=method)

    return jax.jit(read, out_shardings=NamedSharding(mesh, PartitionSpec()))


def _spread(params: Any, mesh: Mesh) -> Any:
    """Put parameters on all devices, as long as they don't lie there already."""
    everywhere = NamedSharding(mesh, PartitionSpec())

    def placed(leaf: Any) -> Any:
        there = getattr(leaf, "sharding", None)
        if there is not None and there.device_set == everywhere.device_set:
            return leaf
        return jax.device_put(leaf, everywhere)

    return jax.tree.map(placed, params)


def _batches(
    texts: list[np.ndarray], length: int, mesh: Mesh
) -> Iterator[tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]]:
    """Give the places of texts of like length, and their tokens and segments."""
    sizes, ways = np.array([len(ids) for ids in texts]), batch_ways(mesh)
    lengths = sorted({min(length, 16 << k) for k in range(20)})
    fits = np.searchsorted(lengths, sizes)
    for k, padded in enumerate(lengths):
        members = np.flatnonzero(fits == k)
        rows = -(-max(1, _TOKENS // padded) // ways) * ways
        for first in range(0, len(members), rows):
            places = members[first : first + rows]
            made = [side_by_side([texts[place]], padded) for place in places]
            missing = [(0, rows - len(places)), (0, 0)]
            tokens, segments = (
                np.pad(np.stack([row[name] for row in made]), missing)
                for name in ("inputs", "segments")
            )
            yield places, (tokens, segments)
