"""Which tokens a token sees.

A pattern is a value that narrows the causal mask (or that of an encoder): its
``sees`` tells from where tokens stand, ``reach`` how far back anything is
seen, where that is known before the layer runs, and ``average`` counts.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

Index = Int[Array, ""] | int


class Seen(NamedTuple):
    """What all blocks of a stack share.

    Attributes:
        positions: where each token stands in its text.
        places: the slot of each token among the keys; without a memory, its
            index.
        mask: true where a token sees a slot.
        segments: of each token; 0 is padding. None is one text in each row.
        noise: one random key for each example; None is no dropout.
        source: another sequence, to be attended to.
        source_mask: true where the other sequence has a token.
    """

    positions: Int[Array, "rows time"]
    places: Int[Array, "rows time"]
    mask: Bool[Array, "masks 1 time slots"]
    segments: Int[Array, "batch time"] | None = None
    noise: Key[Array, " batch"] | None = None
    source: Float[Array, "batch source_time width"] | None = None
    source_mask: Bool[Array, "batch source_time"] | None = None


def causal_mask(
    time: int, segments: Int[Array, "batch time"] | None = None
) -> Bool[Array, "rows 1 time time"]:
    """Token t sees the tokens up to t, of its own segment if there are any."""
    mask = jnp.tril(jnp.ones((time, time), bool))[None, None]
    return mask if segments is None else mask & same_segment(segments)


def same_segment(
    segments: Int[Array, "batch time"],
) -> Bool[Array, "batch 1 time time"]:
    """Each token sees all tokens of its own segment."""
    return segments[:, None, :, None] == segments[:, None, None, :]


def memory_mask(
    places: Int[Array, "rows time"], slots: int
) -> Bool[Array, "rows 1 time slots"]:
    """A token sees the slots up to its own."""
    return jnp.arange(slots) <= places[:, None, :, None]


def causally_seen(
    time: int,
    positions: Int[Array, "batch time"] | None,
    segments: Int[Array, "batch time"] | None,
    slots: int | None,
    noise: Key[Array, " batch"] | None,
) -> Seen:
    """What blocks that read from left to right share.

    Args:
        time: number of tokens.
        positions: where each token stands; from 0 if None.
        segments: texts packed into a row; a memory takes them for one.
        slots: of the memory, where tokens stand at their positions; None is no
            memory.
        noise: one random key for each example.
    """
    indices = jnp.arange(time)[None]
    positions = indices if positions is None else positions
    if slots is None:
        mask = causal_mask(time, segments)
        return Seen(positions, indices, mask, segments, noise)
    mask = memory_mask(positions, slots)
    return Seen(positions, positions, mask, segments, noise)


def seen_from_both_sides(
    time: int,
    positions: Int[Array, "batch time"] | None,
    segments: Int[Array, "batch time"] | None,
    noise: Key[Array, " batch"] | None,
) -> Seen:
    """What blocks that read the whole text share; see `causally_seen`."""
    indices = jnp.arange(time)[None]
    positions = indices if positions is None else positions
    mask = jnp.ones((1, 1, time, time), bool)
    if segments is not None:
        mask = same_segment(segments)
    return Seen(positions, indices, mask, segments, noise)


@dataclass(frozen=True)
class Full:
    """All that the mask shows."""

    def sees(
        self,
        places: Int[Array, "rows time 1"],
        slots: Int[Array, " slots"],
        index: Index,
    ) -> Bool[Array, "rows time slots"] | None:
        """Return what the layer at ``index`` sees; None is all.

        Args:
            places: the slot of each token.
            slots: that it could see.
            index: of the layer in the stack.
        """
        return None

    def reach(self, index: Index) -> int | None:
        """Return how many tokens back anything is seen, if that is known."""
        return None

    def average(self, context: int, layers: int) -> float:
        """Return the tokens that a token sees, on average, of a causal context."""
        return context / 2


@dataclass(frozen=True)
class SlidingWindow:
    """The last ``window`` tokens, itself included (Beltagy et al. 2020).

    An encoder sees as many on the other side.

    Attributes:
        window: number of tokens.
    """

    window: int = 256

    def sees(self, places, slots, index):
        """Return what is near enough."""
        return jnp.abs(places - slots) < self.window

    def reach(self, index):
        """Return the window."""
        return self.window

    def average(self, context, layers):
        """Return the window, but for the first tokens of the context."""
        window = min(self.window, context)
        return window - window**2 / (2 * context)


@dataclass(frozen=True)
class BlockLocal:
    """The tokens of its own block (Child et al. 2019).

    Every second layer's blocks begin half a block later, so that text flows on.

    Attributes:
        block: tokens of a block.
    """

    block: int = 256

    def sees(self, places, slots, index):
        """Return what is in the same block."""
        later = index % 2 * (self.block // 2)
        return (places + later) // self.block == (slots + later) // self.block

    def reach(self, index):
        """Return the block."""
        return self.block

    def average(self, context, layers):
        """Return half the block."""
        return min(self.block, context) / 2


@dataclass(frozen=True)
class Alternating:
    """Layers with a window, and each ``every``-th layer without (Gemma Team 2024).

    Attributes:
        window: number of tokens that the layers between see.
        every: 2 is one of each in turn, the first with a window.
    """

    window: int = 256
    every: int = 2

    def sees(self, places, slots, index):
        """Return what is near enough, or all."""
        return (jnp.abs(places - slots) < self.window) | self._full(index)

    def reach(self, index):
        """Return the window, unless the layer sees all or runs in a scan."""
        known = isinstance(index, int) and not self._full(index)
        return self.window if known else None

    def average(self, context, layers):
        """Return the mean over the layers."""
        local = SlidingWindow(self.window).average(context, layers)
        full = layers // self.every
        return (full * context / 2 + (layers - full) * local) / layers

    def _full(self, index: Index) -> Array | bool:
        return index % self.every == self.every - 1


Pattern = Full | SlidingWindow | BlockLocal | Alternating
