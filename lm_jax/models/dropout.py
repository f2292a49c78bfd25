"""Dropout whose randomness belongs to an example, not to a device."""

import dataclasses
import zlib
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from lm_jax.kernels.threefry import bernoulli


def example_keys(key: Key[Array, ""], rows: Array) -> Key[Array, " batch"]:
    """One key for each example, from its row in the global batch of the step.

    Accumulation, sharding and the number of processes change where a row is
    computed, never its number; so they change no random number either.
    """
    return jax.vmap(jax.random.fold_in, (None, 0))(key, rows)


def part_keys(
    dropout_keys: Key[Array, " batch"] | None, part: str | int | Array
) -> Key[Array, " batch"] | None:
    """Keys for one part of a model, by its name or index; None stays None."""
    if dropout_keys is None:
        return None
    number = zlib.crc32(part.encode()) if isinstance(part, str) else part
    return jax.vmap(jax.random.fold_in, (0, None))(dropout_keys, number)


def dropout(
    x: Float[Array, "batch ..."],
    rate: float,
    dropout_keys: Key[Array, " batch"] | None,
    name: str,
) -> Float[Array, "batch ..."]:
    """Zero entries with probability ``rate``, scale the others by 1/(1-rate).

    Args:
        x: activations, examples first.
        rate: probability of a zero.
        dropout_keys: one key for each example; None leaves ``x`` as it is.
        name: what is dropped; two names draw independently (Srivastava 2014).
    """
    if dropout_keys is None or rate == 0.0:
        return x

    def keep(key):
        key = jax.random.fold_in(key, zlib.crc32(name.encode()))
        return bernoulli(key, 1.0 - rate, x.shape[1:])

    # Without the barrier XLA draws again in each kernel that reads the mask, at a
    # sixth of an LSTM's step.
    kept = jax.lax.optimization_barrier(jax.vmap(keep)(dropout_keys))
    return jnp.where(kept, x / (1.0 - rate), 0).astype(x.dtype)


def drops(value: Any, within: bool = False) -> bool:
    """Say whether a model, or a value in it, has a rate of dropout above 0.

    Args:
        value: the model.
        within: whether each number of it is such a rate.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [f.name for f in dataclasses.fields(value) if f.name != "parent"]
        return any(
            drops(getattr(value, name, None), within or "dropout" in name)
            for name in names
        )
    return within and isinstance(value, float) and value > 0
