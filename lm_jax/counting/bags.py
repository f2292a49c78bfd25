"""Which n-grams stand in each text, as a sparse matrix."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Int64

Sparse = Any
"""A scipy.sparse.csr_array: importing it takes a third of a second, which no other
command shall wait."""


class Grams(NamedTuple):
    """The n-grams of some texts: of each order, sorted keys.

    A key is (number of the context in the order below) * vocab_size + (last token), as
    in `lm_jax.counting.tables`. N-grams are numbered order after order.
    """

    vocab_size: int
    keys: tuple[Int64[np.ndarray, " _"], ...]

    @property
    def total(self) -> int:
        """Number of n-grams, of all orders."""
        return sum(map(len, self.keys))


class _Placed(NamedTuple):
    """The n-grams of one order: where they end, and their keys."""

    places: Int64[np.ndarray, " grams"]
    keys: Int64[np.ndarray, " grams"]


def learn_grams(
    texts: list[Int[np.ndarray, " _"]], order: int, vocab_size: int
) -> Grams:
    """Number the n-grams of texts; none goes from one text into the next.

    Args:
        texts: tokens of each.
        order: tokens of the longest.
        vocab_size: number of ids.
    """
    keys: list[np.ndarray] = []
    for placed in _walk(texts, order, vocab_size, keys):
        keys.append(np.unique(placed.keys))
    return Grams(vocab_size, tuple(keys))


def bags(texts: list[Int[np.ndarray, " _"]], grams: Grams, binary: bool) -> Sparse:
    """Count the n-grams in each text: (texts, n-grams); unknown ones are left out.

    Args:
        texts: tokens of each.
        grams: that are known.
        binary: whether each counts once.
    """
    from scipy.sparse import csr_array

    text = np.repeat(np.arange(len(texts)), [len(ids) for ids in texts])
    rows, columns, first = [], [], 0
    walk = _walk(texts, len(grams.keys), grams.vocab_size, grams.keys)
    for known, placed in zip(grams.keys, walk, strict=True):
        found = _numbers(known, placed.keys)
        there = found >= 0
        rows.append(text[placed.places[there]])
        columns.append(found[there] + first)
        first += len(known)
    where = np.concatenate(rows), np.concatenate(columns)
    ones = np.ones(len(where[0]))
    counts = csr_array((ones, where), shape=(len(texts), grams.total))
    counts.sum_duplicates()
    if binary:
        counts.data[:] = 1.0
    return counts


def _walk(
    texts: list[Int[np.ndarray, " _"]],
    order: int,
    vocab_size: int,
    keys: Sequence[np.ndarray],
) -> Iterator[_Placed]:
    """Give the n-grams order by order; ``keys`` are of the orders given so far."""
    ids = np.concatenate([*texts, np.empty(0, np.int64)]).astype(np.int64)
    sizes = [len(text) for text in texts]
    starts = np.repeat(np.cumsum([0, *sizes[:-1]]), sizes)
    before = np.arange(len(ids)) - starts  # Tokens of the text before each one.
    contexts = np.zeros(len(ids), np.int64)
    for length in range(order):
        places = np.flatnonzero((before >= length) & (contexts >= 0))
        placed = _Placed(places, contexts[places] * vocab_size + ids[places])
        yield placed
        numbers = np.full(len(ids), -1)
        numbers[places] = _numbers(keys[length], placed.keys)
        contexts = np.full(len(ids), -1)
        contexts[1:] = numbers[:-1]


def _numbers(
    known: Int64[np.ndarray, " known"], keys: Int64[np.ndarray, " grams"]
) -> Int64[np.ndarray, " grams"]:
    """Give the place of each key among those known; -1 where it is none."""
    if not len(known):
        return np.full(len(keys), -1)
    places = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return np.where(known[places] == keys, places, -1)
