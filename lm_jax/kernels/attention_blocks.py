"""Attention by blocks of queries, which keeps no weights, on every platform."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lm_jax.kernels.attention import Sight, mix
from lm_jax.kernels.placement import first_of, on_each_device, ways

# Shorter, to keep weights for the backward pass costs less than to make them again.
LONG, QUERIES = 4096, 256


def lacks(
    query: Array, key: Array, sight: Sight, softcap: float | None, bias: Array | None
) -> str | None:
    """Say why blocks can't attend so, or None; see `attend_long`."""
    if bias is None or ways("time", query.shape[2]) == 1:
        return None
    return "blocks add nothing to the scores of a text that lies on several devices"


def attend_long(
    query: Float[Array, "batch heads time dim"],
    key: Float[Array, "batch kv_heads time dim"],
    value: Float[Array, "batch kv_heads time dim"],
    sight: Sight,
    scale: float,
    softcap: float | None = None,
    bias: Float[Array, "biases heads time time"] | None = None,
) -> Float[Array, "batch heads time dim"]:
    """Attend by blocks of queries, one after the other, and keep no weights.

    They are made again in the backward pass, so that memory is linear in time (Rabe
    and Staats 2021). See `attend`.

    Args:
        query, key, value: what attends, to what, and what it takes from there.
        sight: what each token sees.
        scale: of the scores.
        softcap: of the scores.
        bias: added to them; it is as large as the weights of a layer that shares it.
    """
    if ways("time", query.shape[2]) == 1:
        return _in_blocks(query, key, value, sight, scale, softcap, bias=bias)

    def of_part(query: Array, key: Array, value: Array, *segments: Array) -> Array:
        own = sight._replace(segments=segments[0] if segments else None)
        first = first_of("time", query.shape[2])
        return _in_blocks(query, key, value, own, scale, softcap, first)

    segments = () if sight.segments is None else (sight.segments,)
    run = on_each_device(of_part, query.shape[1], key.shape[1])
    return run(query, key, value, *segments)


def _in_blocks(query, key, value, sight, scale, softcap, begin=None, bias=None):
    """Attend by blocks of queries; with ``begin``, of the part that begins there."""

    def rows(start: int, end: int) -> Array:
        first, last = 0, key.shape[2]
        if sight.causal and begin is None:
            last = end
            first = 0 if sight.window is None else max(0, start + 1 - sight.window)
        keys, values = key[:, :, first:last], value[:, :, first:last]

        @jax.checkpoint
        def block(own: tuple[Array, Array, Array | None]) -> Array:
            queries, ids, added = own
            mask = sight.mask(ids, jnp.arange(first, last))
            return mix(queries, keys, values, mask, None, added, scale, softcap)

        def parts(x: Array) -> Array:
            cut = x[:, :, start:end].reshape(*x.shape[:2], -1, size, x.shape[3])
            return jnp.moveaxis(cut, 2, 0)

        size = min(end - start, QUERIES)
        ids = (0 if begin is None else begin) + jnp.arange(start, end).reshape(-1, size)
        added = None if bias is None else parts(bias[..., first:last])
        mixed = jax.lax.map(block, (parts(query), ids, added))
        return jnp.moveaxis(mixed, 0, 2).reshape(*query.shape[:2], -1, query.shape[3])

    blocks = [rows(start, end) for start, end in _long_blocks(query.shape[2])]
    return jnp.concatenate(blocks, axis=2)


def _long_blocks(time: int) -> list[tuple[int, int]]:
    """Cut time into at most 8 blocks of whole ``QUERIES``, and what is left over."""
    whole = time - time % QUERIES
    size = max(1, -(-whole // (8 * QUERIES))) * QUERIES
    blocks = [(start, min(start + size, whole)) for start in range(0, whole, size)]
    return blocks + [(whole, time)] * (whole < time)
