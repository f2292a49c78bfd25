"""The n-grams of a stream of tokens, counted order by order.

An n-gram is known by its id: its place among the n-grams of its order, sorted.
Its key is one integer, (id of its context) * vocab_size + (its last token),
where its context is the n-gram of the order below that it begins with. So keys
stay small whatever the order, and the n-grams that share a context lie together.
The one n-gram of order 0 is empty and has id 0.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int64, Real

Progress = Callable[[str, int, int], None]
"""Called with a description, what is done and what there is in all."""
Ends = int | tuple[int, ...] | None
"""The token, or the tokens, that end a sentence or document; None where none does."""


@dataclass(frozen=True)
class Counts:
    """The n-grams of one order, and how often each occurred."""

    vocab_size: int
    contexts_below: int
    """How many n-grams the order below has: each is a context here."""
    keys: Int64[np.ndarray, " grams"]
    """Sorted; see the top of this file."""
    suffixes: Int64[np.ndarray, " grams"]
    """Id of each n-gram without its first token, in the order below."""
    counts: Int64[np.ndarray, " grams"]
    """Occurrences in the stream."""
    continuations: Int64[np.ndarray, " grams"]
    """Different tokens that each n-gram follows. Where a context begins anew
    nothing is there to follow: these occurrences count one each. For the
    highest order: the occurrences."""

    @property
    def contexts(self) -> Int64[np.ndarray, " grams"]:
        """Give the id of each n-gram's context."""
        return self.keys // self.vocab_size

    def totals(
        self, values: Real[np.ndarray, " grams"]
    ) -> Float64[np.ndarray, " contexts"]:
        """Give, for each context, the sum of the values of its n-grams."""
        # Of no values at all numpy gives integers.
        sums = np.bincount(self.contexts, values, self.contexts_below)
        return sums.astype(np.float64, copy=False)


def count(
    ids: Int64[np.ndarray, " tokens"],
    order: int,
    vocab_size: int,
    end_id: Ends,
    progress: Progress | None = None,
) -> list[Counts]:
    """Count the n-grams of the orders 1 to ``order``.

    Time grows as tokens * log(tokens), memory in step with the tokens.

    Args:
        ids: the stream.
        order: the highest order.
        vocab_size: number of ids.
        end_id: see `context_lengths`.
        progress: told of each order.
    """
    lengths = context_lengths(ids, end_id, order - 1)
    contexts = np.zeros(len(ids), np.int64)
    suffixes = contexts  # Of each token: the id of its n-gram of the order below.
    below = 1
    levels: list[Counts] = []
    for length in range(order):
        inside = lengths >= length
        keys, grams, counts = np.unique(
            contexts[inside] * vocab_size + ids[inside],
            return_inverse=True,
            return_counts=True,
        )
        shorter = np.empty(len(keys), np.int64)
        shorter[grams] = suffixes[inside]
        if levels:
            first = suffixes[lengths == length - 1]  # Nothing comes before these.
            follows = np.bincount(np.concatenate([shorter, first]), minlength=below)
            levels[-1] = replace(levels[-1], continuations=follows)
        levels.append(Counts(vocab_size, below, keys, shorter, counts, counts))
        below = len(keys)
        suffixes = np.full(len(ids), -1)
        suffixes[inside] = grams
        contexts = before(suffixes)
        if progress is not None:
            progress("counting", length + 1, order)
    return levels


def context_lengths(
    ids: Int64[np.ndarray, "*rows time"], end_id: Ends, most: int
) -> Int64[np.ndarray, "*rows time"]:
    """Give how many of the tokens before each one are its context.

    A context never reaches over the start of the row or over a -1, which says
    that there is no token. Where ``end_id`` is given, contexts begin with the
    last end before the token, which so marks the start of a sentence.

    Args:
        ids: tokens.
        end_id: the token or tokens that end a sentence or document, or None.
        most: the longest context.
    """
    position = np.arange(ids.shape[-1])
    start = np.where(ids < 0, position + 1, 0)
    if end_id is not None:
        start = np.where(np.isin(ids, end_id), position, start)
    start = np.maximum(0, np.maximum.accumulate(before(start), axis=-1))
    return np.minimum(position - start, most)


def before(
    values: Int64[np.ndarray, "*rows time"],
) -> Int64[np.ndarray, "*rows time"]:
    """Give each place the value of the place before it; -1 to the first."""
    moved = np.full_like(values, -1)
    moved[..., 1:] = values[..., :-1]
    return moved
