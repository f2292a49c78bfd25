"""Which tokens a token sees.

A pattern is a value that narrows the causal mask (or that of an encoder): its
``sees`` tells from where tokens stand, ``sees_all`` which layers have no limit,
``reach`` how far back anything is seen, where that is known before the layer runs,
and ``average`` counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from lm_jax.bounds import SIZES, within
from lm_jax.kernels.attention import Sight

__all__ = ["Alternating", "BlockLocal", "Full", "Pattern", "SlidingWindow"]

Index = Int[Array, ""] | int


class Shared(NamedTuple):
    """What all blocks of a stack share.

    Attributes:
        positions: where each token stands in its text.
        key_positions: where each key stands: the tokens', or those of the cache.
        mask: true where a token sees a key.
        segments: of each token; 0 is padding. None is one text in each row.
        slots: of the cache, where the tokens are written; beyond its end nothing
            is. None is no cache.
        dropout_keys: one random key for each example; None is no dropout.
        bias: that all layers add to the scores, where positions say so.
        source: another sequence, to be attended to.
        source_mask: true where the other sequence has a token.
    """

    positions: Int[Array, "rows time"]
    key_positions: Int[Array, "rows_or_1 slots"]
    mask: Bool[Array, "masks 1 time slots"]
    segments: Int[Array, "batch time"] | None = None
    slots: Int[Array, "batch time"] | None = None
    dropout_keys: Key[Array, " batch"] | None = None
    bias: Float[Array, "rows heads time slots"] | None = None
    source: Float[Array, "batch source_time width"] | None = None
    source_mask: Bool[Array, "batch source_time"] | None = None


def causal_mask(
    time: int, segments: Int[Array, "batch time"] | None = None
) -> Bool[Array, "rows 1 time time"]:
    """Token t sees the tokens up to t, of its own segment if there are any."""
    mask = jnp.tril(jnp.ones((time, time), bool))[None, None]
    return mask if segments is None else mask & same_segment(segments, segments)


def same_segment(
    segments: Int[Array, "batch time"], of_keys: Int[Array, "batch slots"]
) -> Bool[Array, "batch 1 time slots"]:
    """Each token sees all keys of its own segment."""
    return segments[:, None, :, None] == of_keys[:, None, None, :]


def causally_shared(
    time: int,
    positions: Int[Array, "batch time"] | None,
    segments: Int[Array, "batch time"] | None,
    dropout_keys: Key[Array, " batch"] | None,
) -> Shared:
    """What blocks that read from left to right share, without a cache.

    Args:
        time: number of tokens.
        positions: where each token stands; from 0 if None. Within a segment they
            rise by one.
        segments: texts packed into a row.
        dropout_keys: one random key for each example.
    """
    if positions is None:
        positions = jnp.arange(time)[None]
    mask = causal_mask(time, segments)
    return Shared(positions, positions, mask, segments, dropout_keys=dropout_keys)


def shared_from_both_sides(
    time: int,
    positions: Int[Array, "batch time"] | None,
    segments: Int[Array, "batch time"] | None,
    dropout_keys: Key[Array, " batch"] | None,
) -> Shared:
    """What blocks that read the whole text share; see `causally_shared`."""
    if positions is None:
        positions = jnp.arange(time)[None]
    mask = jnp.ones((1, 1, time, time), bool)
    if segments is not None:
        mask = same_segment(segments, segments)
    return Shared(positions, positions, mask, segments, dropout_keys=dropout_keys)


@dataclass(frozen=True)
class Full:
    """All that the mask shows."""

    def problems(self, config: Any) -> Iterator[str]:
        """Say why a block of this `BlockConfig` can't see so."""
        yield from ()

    def sees(
        self,
        positions: Int[Array, "rows time 1"],
        key_positions: Int[Array, "rows_or_1 1 slots"],
        index: Index,
    ) -> Bool[Array, "rows time slots"] | None:
        """Return what the layer at ``index`` sees of its own text; None is all.

        Args:
            positions: where each token stands.
            key_positions: where the keys stand that it could see.
            index: of the layer in the stack.
        """
        return None

    def sees_all(self, index: Index) -> Bool[Array, ""] | bool:
        """Return whether nothing of its own text is too far for a layer."""
        return True

    def reach(self, index: Index) -> int | None:
        """Return how many tokens back anything is seen, if that is known."""
        return None

    def sights(
        self,
        causal: bool,
        positions: Int[Array, "batch time"],
        segments: Int[Array, "batch time"] | None,
        index: Index,
    ) -> tuple[Sight, ...]:
        """Return in words what a layer sees without a cache.

        Two where a scan loops over layers of two kinds: of one that does not see all,
        and of one that does.

        Args:
            causal: whether a token sees only those up to itself.
            positions: where each token stands.
            segments: of each token.
            index: of the layer in the stack.
        """
        return (Sight(causal, self.reach(index), segments),)

    def average(self, context: int, layers: int) -> float:
        """Return the tokens that a token sees, on average, of a causal context."""
        return context / 2


@dataclass(frozen=True)
class SlidingWindow(Full):
    """The last ``window`` tokens, itself included (Beltagy et al. 2020).

    An encoder sees as many on the other side.

    Attributes:
        window: number of tokens.
    """

    window: int = within(SIZES, 256)

    def sees(self, positions, key_positions, index):
        """Return what is near enough."""
        return jnp.abs(positions - key_positions) < self.window

    def sees_all(self, index):
        """Return that something is too far."""
        return False

    def reach(self, index):
        """Return the window."""
        return self.window

    def average(self, context, layers):
        """Return the window, but for the first tokens of the context."""
        window = min(self.window, context)
        return window - window**2 / (2 * context)


@dataclass(frozen=True)
class BlockLocal(Full):
    """The tokens of its own block (Child et al. 2019).

    Every second layer's blocks begin half a block later, so that text flows on.

    Attributes:
        block: tokens of a block.
    """

    block: int = within(SIZES, 256)

    def sees(self, positions, key_positions, index):
        """Return what is in the same block."""
        return jnp.equal(*(self._blocks(p, index) for p in (positions, key_positions)))

    def _blocks(self, positions, index):
        """Return the number of each token's block."""
        return (positions + index % 2 * (self.block // 2)) // self.block

    def sees_all(self, index):
        """Return that something is too far."""
        return False

    def reach(self, index):
        """Return the block."""
        return self.block

    def sights(self, causal, positions, segments, index):
        """Return each block as a text of its own."""
        blocks = self._blocks(positions, index)
        if segments is not None:
            blocks += segments * (blocks.max() + 1)
        return (Sight(causal, self.block, blocks),)

    def average(self, context, layers):
        """Return half the block."""
        return min(self.block, context) / 2


@dataclass(frozen=True)
class Alternating(Full):
    """Layers with a window, and each ``every``-th layer without (Gemma Team 2024).

    Attributes:
        window: number of tokens that the layers between see.
        every: 2 is one of each in turn, the first with a window.
    """

    window: int = within(SIZES, 256)
    every: int = within(SIZES, 2)

    def sees(self, positions, key_positions, index):
        """Return what is near enough, or all."""
        near = jnp.abs(positions - key_positions) < self.window
        return near | self.sees_all(index)

    def sees_all(self, index):
        """Return whether the layer is an ``every``-th one."""
        return index % self.every == self.every - 1

    def reach(self, index):
        """Return the window, unless the layer sees all or runs in a scan."""
        known = isinstance(index, int) and not self.sees_all(index)
        return self.window if known else None

    def sights(self, causal, positions, segments, index):
        """Return what this layer sees, or what both kinds see in a scan."""
        near, far = Sight(causal, self.window, segments), Sight(causal, None, segments)
        if isinstance(index, int):
            return (far if self.sees_all(index) else near,)
        return near, far

    def average(self, context, layers):
        """Return the mean over the layers."""
        local = SlidingWindow(self.window).average(context, layers)
        full = layers // self.every
        return (full * context / 2 + (layers - full) * local) / layers


Pattern = Full | SlidingWindow | BlockLocal | Alternating
