"""Attention without a softmax: a state of constant size that forgets."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from lm_jax.bounds import SIZES, within
from lm_jax.models.norms import RMSNorm
from lm_jax.models.part import Part
from lm_jax.models.patterns import Full, Index, Shared

__all__ = ["GatedLinear"]

Cache = dict[str, Array]
State = Float[Array, "batch heads dim dim"]


def recurrence(
    query: Float[Array, "batch heads time dim"],
    key: Float[Array, "batch heads time dim"],
    value: Float[Array, "batch heads time dim"],
    log_decay: Float[Array, "batch heads time"],
    fresh: Bool[Array, "batch time"],
    state: State,
    chunk: int,
) -> tuple[Float[Array, "batch heads time dim"], State]:
    """S_t = a_t S_{t-1} + k_t v_t^T and y_t = q_t S_t (Dao and Gu 2024, 6).

    Tokens of a chunk mix as in attention, with decays for a softmax; the state
    carries what was before the chunk. Computes in float32.

    Args:
        query, key, value: q, k and v.
        log_decay: log a_t, not above 0.
        fresh: true where S_{t-1} is forgotten whole.
        state: S before the first token.
        chunk: tokens that mix at once.
    """
    time = query.shape[2]
    chunk = min(chunk, time)
    # Tokens that fill the last chunk: no key and no decay leave the state be.
    filling = -time % chunk

    def chunks(x: Array, axis: int) -> Array:
        widths = [(0, 0)] * x.ndim
        widths[axis] = (0, filling)
        x = jnp.pad(x, widths)
        shape = (*x.shape[:axis], -1, chunk, *x.shape[axis + 1 :])
        return jnp.moveaxis(x.reshape(shape), axis, 0)

    parts = (
        *(chunks(x.astype(jnp.float32), 2) for x in (query, key, value, log_decay)),
        chunks(fresh, 1)[:, :, None],
    )
    last, mixed = jax.lax.scan(_mix_chunk, state, parts)
    mixed = jnp.moveaxis(mixed, 0, 2).reshape(*query.shape[:2], -1, query.shape[3])
    return mixed[:, :, :time].astype(query.dtype), last


def _mix_chunk(state, part):
    """One chunk of (batch, heads, chunk, dim) after a state."""
    query, key, value, log_decay, fresh = part
    passed = jnp.cumsum(log_decay, axis=-1)
    # What is forgotten whole has no logarithm: it is counted instead.
    texts = jnp.cumsum(fresh, axis=-1)
    chunk = query.shape[2]
    alive = jnp.tril(jnp.ones((chunk, chunk), bool))
    alive = alive & (texts[..., :, None] == texts[..., None, :])
    between = jnp.where(alive, passed[..., :, None] - passed[..., None, :], -jnp.inf)
    scores = jnp.einsum("bhtd,bhsd->bhts", query, key) * jnp.exp(between)
    mixed = jnp.einsum("bhts,bhsd->bhtd", scores, value)
    since = jnp.where(texts == 0, jnp.exp(passed), 0)
    mixed = mixed + jnp.einsum("bhtd,bhde->bhte", query * since[..., None], state)
    left = key * jnp.exp(between[..., -1, :, None])
    state = state * since[..., -1, None, None]
    return state + jnp.einsum("bhsd,bhse->bhde", left, value), mixed


def fresh_tokens(
    segments: Int[Array, "batch time"],
) -> Bool[Array, "batch time"]:
    """True for the first token of each segment but the first; 0 is no segment."""

    def latest(a, b):
        return jnp.where(b == 0, a, b)

    seen = jax.lax.associative_scan(latest, segments, axis=1)
    before = jnp.pad(seen[:, :-1], ((0, 0), (1, 0)))
    return (segments != 0) & (before != 0) & (segments != before)


@dataclass(frozen=True)
class GatedLinear:
    """Linear attention whose heads forget at a rate that the token sets.

    One decay for a head and token as in Mamba-2 (Dao and Gu 2024), a norm of
    each head and an output gate as in GLA (Yang et al. 2024). The cache has
    constant size and the cost of a token doesn't grow with the text.

    Attributes:
        chunk: tokens that mix at once; changes the speed, not the values.
        longest: tokens that the slowest head remembers at first; the fastest
            remembers one, those between stand in geometric order.
    """

    chunk: int = within(SIZES, 64)
    longest: float = within("[1, inf)", 1024.0)

    constant: ClassVar[bool] = True

    def problems(self, config: Any) -> Iterator[str]:
        """Say why a block of this `BlockConfig` can't mix so."""
        if not config.causal:
            yield (
                "model.mixer=GatedLinear reads from left to right, and an encoder "
                "from both sides. Use Softmax there."
            )
        softmax_only = {
            "attention": config.attention != Full(),
            "softcap": config.softcap is not None,
            "kv_heads": config.kv_heads not in (None, config.heads),
            "positions": config.positions.on_scores,
        }
        for field, chosen in softmax_only.items():
            if chosen:
                yield (
                    f"model.{field}={getattr(config, field)} acts on the scores of "
                    "softmax attention, and model.mixer=GatedLinear has none. Leave "
                    "one of them."
                )

    def __call__(
        self,
        part: Part,
        x: Float[Array, "batch time width"],
        projected: tuple[Float[Array, "batch heads time dim"], ...],
        index: Index,
        shared: Shared,
        cache: Cache | None,
    ) -> tuple[Float[Array, "batch heads time dim"], Cache | None]:
        """Mix each token with what is left of those before.

        Segment 0 is padding and leaves no trace; a new segment starts from an
        empty state.

        Args:
            part: the attention of a block.
            x: what queries, keys and values were projected from.
            projected: query, key and value.
            index: of the layer in the stack.
            shared: what all layers share.
            cache: the state after the tokens before.
        """
        query, key, value = projected
        batch, heads, time, dim = query.shape
        width, inner = x.shape[-1], heads * dim
        decay = part.dense(width, heads, "hidden", "decay")(x)
        rate = part.param("rate", self._first_rates, (heads,))
        # softplus of the rate alone is 1 / the tokens that are remembered.
        log_decay = -jax.nn.softplus(decay.astype(jnp.float32) + rate)
        log_decay = jnp.swapaxes(log_decay, 1, 2)
        fresh = jnp.zeros((batch, time), bool)
        if shared.segments is not None:
            real = shared.segments != 0
            fresh = fresh_tokens(shared.segments)
            log_decay = jnp.where(real[:, None], log_decay, 0)
            key = jnp.where(real[:, None, :, None], key, 0)
        before = cache or self.empty_cache(batch, heads, 0, dim, jnp.float32)
        query = query * part.config.score_scale
        mixed, state = recurrence(
            query, key, value, log_decay, fresh, before["state"], self.chunk
        )
        mixed = RMSNorm(dtype=part.config.dtype, name="mixed_norm")(mixed)
        gate = part.dense(width, inner, "hidden", "gate")(x)
        gate = jax.nn.silu(gate.astype(jnp.float32)).astype(x.dtype)
        gate = jnp.swapaxes(gate.reshape(batch, time, heads, dim), 1, 2)
        return mixed * gate, None if cache is None else {"state": state}

    def _first_rates(self, key: Array, shape: tuple[int, ...]) -> Array:
        tokens = jnp.geomspace(1.0, self.longest, shape[-1])
        return jnp.broadcast_to(jnp.log(jnp.expm1(1 / tokens)), shape)

    def empty_cache(
        self, batch: int, heads: int, slots: int, dim: int, dtype: Any
    ) -> Cache:
        """The state after no token, float32 and of one size whatever the slots."""
        return {"state": jnp.zeros((batch, heads, dim, dim))}

    def kernels(self, width: int, inner: int, heads: int) -> int:
        """Kernel entries beside those of the query, key, value and output."""
        return width * (inner + heads)

    def products(self, inner: int, dim: int, seen: float) -> float:
        """Multiplications of a token with its chunk, and with the state twice."""
        return 2 * inner * min(self.chunk / 2, seen) + 2 * inner * dim
