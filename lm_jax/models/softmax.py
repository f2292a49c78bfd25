"""Softmax attention as a mixer of tokens, with a cache of keys and values."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from lm_jax.kernels.attention import LONG, Sight, attend, attend_long
from lm_jax.kernels.attention_tpu import attend_splash, lacks
from lm_jax.kernels.placement import platform
from lm_jax.models.dropout import dropout
from lm_jax.models.part import Part
from lm_jax.models.patterns import Index, Shared

__all__ = ["Softmax"]

Cache = dict[str, Array]
PLAIN = (
    "attention takes its plain form, whose memory grows with the square of the context."
)


@dataclass(frozen=True)
class Softmax:
    """Attention that remembers each token (Vaswani et al. 2017)."""

    constant: ClassVar[bool] = False
    """Whether what is left of a text has one size, however long it is."""

    def problems(self, config: Any) -> Iterator[str]:
        """Say why a block of this `BlockConfig` can't mix so."""
        yield from ()

    def __call__(
        self,
        part: Part,
        x: Float[Array, "batch time width"],
        projected: tuple[Float[Array, "batch _ time dim"], ...],
        index: Index,
        shared: Shared,
        cache: Cache | None,
    ) -> tuple[Float[Array, "batch heads time dim"], Cache | None]:
        """Mix the values of the tokens that each token sees.

        With a cache, keys and values are first written into its ``shared.slots``
        and the tokens attend to the slots that the mask shows.

        Args:
            part: the attention of a block.
            x: what queries, keys and values were projected from.
            projected: query, key and value.
            index: of the layer in the stack.
            shared: what all layers share.
            cache: keys and values of the tokens before.
        """
        config = part.config
        query, key, value = projected
        if cache is not None:
            assert shared.slots is not None
            cache = {
                "key": write_slots(cache["key"], key, shared.slots),
                "value": write_slots(cache["value"], value, shared.slots),
            }
            key, value = cache["key"], cache["value"]
        bias = shared.bias
        if bias is None:
            bias = config.positions.bias(part, shared.positions, shared.key_positions)
        kept = kept_weights(query, key, config.dropout, shared.dropout_keys)
        more = {"scale": config.score_scale, "softcap": config.softcap}
        if cache is None:
            sight = config.attention.sight(config.causal, shared.segments, index)
            form = _form(query, key, sight, bias, kept)
            if form is not None:
                return form(query, key, value, sight, **more), None
        near = config.attention.sees(
            shared.positions[:, :, None], shared.key_positions[:, None], index
        )
        mixed = attend(
            query,
            key,
            value,
            shared.mask if near is None else shared.mask & near[:, None],
            kept,
            causal=config.causal and cache is None,
            bias=bias,
            window=config.attention.reach(index),
            **more,
        )
        return mixed, cache

    def empty_cache(
        self, batch: int, heads: int, slots: int, dim: int, dtype: Any
    ) -> Cache:
        """Keys and values of no token yet."""
        zeros = jnp.zeros((batch, heads, slots, dim), dtype)
        return {"key": zeros, "value": zeros}

    def kernels(self, width: int, inner: int, heads: int) -> int:
        """Kernel entries beside those of the query, key, value and output."""
        return 0

    def products(self, inner: int, dim: int, seen: float) -> float:
        """Multiplications of a token with what it sees: scores and mixed values."""
        return 2 * inner * seen


def _form(
    query: Array, key: Array, sight: Sight | None, bias: Any, kept: Any
) -> Callable | None:
    """The kernel that keeps no weights, where there is one and it pays; else None."""
    if platform() == "tpu":
        if why := lacks(query, key, sight, bias, kept):
            warnings.warn(f"{why}: {PLAIN}", stacklevel=2)
            return None
        return attend_splash
    plain = sight is None or bias is not None or kept is not None
    return None if plain or query.shape[2] < LONG else attend_long


def kept_weights(
    query: Float[Array, "batch heads time dim"],
    key: Float[Array, "batch kv_heads slots dim"],
    rate: float,
    dropout_keys: Key[Array, " batch"] | None,
) -> Float[Array, "batch heads time slots"] | None:
    """Draw what dropout leaves of attention's weights, as factors; None is all."""
    if dropout_keys is None or not rate:
        return None
    ones = jnp.ones((*query.shape[:3], key.shape[2]), jnp.float32)
    return dropout(ones, rate, dropout_keys, "attention weights")


def write_slots(
    cache: Float[Array, "batch heads slots dim"],
    new: Float[Array, "batch heads time dim"],
    slots: Int[Array, "batch time"],
) -> Float[Array, "batch heads slots dim"]:
    """Write keys or values into their slots; a slot beyond the end is none."""
    rows = jnp.arange(new.shape[0])[:, None]
    # Advanced indices around a slice put their axes first.
    return cache.at[rows, :, slots].set(jnp.swapaxes(new, 1, 2), mode="drop")
