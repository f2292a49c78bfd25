"""Softmax attention as a mixer of tokens, with a cache of keys and values."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from lm_jax.kernels.attention import attend, weights_of
from lm_jax.kernels.attention_forms import form_of
from lm_jax.models.dropout import dropout
from lm_jax.models.part import Part
from lm_jax.models.patterns import Index, Shared

__all__ = ["Softmax"]

Cache = dict[str, Array]


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
        if cache is None:
            _shown(part, projected, index, shared, bias)
            mixed = _without_weights(config, projected, index, shared, bias, kept)
            if mixed is not None:
                return mixed, None
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
            scale=config.score_scale,
            softcap=config.softcap,
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


WEIGHTS = "attention_weights"
"""The collection that layers put their weights into, where it is asked for."""


def _shown(
    part: Part, projected: tuple, index: Index, shared: Shared, bias: Any
) -> None:
    """Sow the weights of a layer where somebody looks; nothing is made otherwise."""
    if part.is_initializing() or not part.is_mutable_collection(WEIGHTS):
        return
    config, (query, key, _) = part.config, projected
    near = config.attention.sees(
        shared.positions[:, :, None], shared.key_positions[:, None], index
    )
    mask = shared.mask if near is None else shared.mask & near[:, None]
    scores = {"scale": config.score_scale, "softcap": config.softcap}
    part.sow(WEIGHTS, "weights", weights_of(query, key, mask, bias, **scores))


def _without_weights(
    config: Any, projected: tuple, index: Index, shared: Shared, bias: Any, kept: Any
) -> Array | None:
    """Mix by a kernel that keeps no weights, where there is one; else None."""
    query, key, _ = projected
    places = jnp.broadcast_to(shared.positions, (query.shape[0], query.shape[2]))
    sights = config.attention.sights(config.causal, places, shared.segments, index)
    form = form_of(
        config.attention_form, query, key, sights[0], config.softcap, bias, kept
    )
    if form is None:
        return None
    added = {} if bias is None else {"bias": bias}
    scores = {"scale": config.score_scale, "softcap": config.softcap} | added
    mixes = [functools.partial(form, sight=sight, **scores) for sight in sights]
    if len(mixes) == 1:
        return mixes[0](*projected)
    near, far = mixes
    return jax.lax.cond(config.attention.sees_all(index), far, near, *projected)


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
