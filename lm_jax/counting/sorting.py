"""The n-grams of a stream in their order, each once, with its occurrences.

At each place of the stream begins a row: its token and those after it, as many as
the longest n-gram has, or fewer where a sentence ends. Rows are sorted by their first
token, then the second, and so on: equal n-grams of every order then lie together, so
that one sort serves all orders. The rows of a large stream are dealt out into ranges,
which are sorted one by one.

A row is a few integers, its keys. Each has some of its tokens as digits; 0 is no token.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Int64, Integer

from lm_jax.counting.scratch import Progress, Scratch, pieces, telling

# Rows that are sorted at once, and those that tell where ranges are to begin.
_RANGE = 1 << 17
_SAMPLE = 1 << 18
# Pieces that are dealt out at once, for ranges to get more than a few rows of each.
_DEALT = 16
_MOST = np.iinfo(np.int64).max

Keys = list[Int64[np.ndarray, " rows"]]


@dataclass(frozen=True)
class Rows:
    """The rows of a stream."""

    ids: Integer[np.ndarray, " tokens"]
    order: int
    """Tokens of a row, at most."""
    vocab_size: int
    ends: tuple[int, ...]
    """Tokens that end a sentence: a row has none between its first and its last."""

    @property
    def base(self) -> int:
        """Give the number of digits: the tokens, and none."""
        return self.vocab_size + 1

    @property
    def digits(self) -> list[int]:
        """Give how many tokens each key has: what 63 bits hold.

        Beside those of the later ones is room for the number of a row in its range.
        """
        numbers = min(len(self.ids), 64 * _RANGE)
        first, later = self._fitting(1), self._fitting(numbers)
        rest = range(first, self.order, later)
        return [min(first, self.order), *(min(later, self.order - i) for i in rest)]

    def _fitting(self, numbers: int) -> int:
        """Give how many digits fit beside so many numbers; 1 at least."""
        found = 1
        while numbers * self.base ** (found + 1) <= _MOST:
            found += 1
        return found

    def keys(self, part: slice) -> Keys:
        """Give the keys of the rows that begin in a part of the stream."""
        size = part.stop - part.start
        ids = np.full(size + self.order - 1, -1)
        found = self.ids[part.start : part.stop + self.order - 1]
        ids[: len(found)] = found
        is_end = np.isin(ids, self.ends)
        inside = np.ones(size, bool)
        columns = []
        for place in range(self.order):
            here = slice(place, place + size)
            columns.append(np.where(inside, ids[here] + 1, 0))
            if place > 0:
                inside &= ~is_end[here]
        keys = []
        for count in self.digits:
            key = columns.pop(0)
            for _ in range(count - 1):
                key = key * self.base + columns.pop(0)
            keys.append(key)
        return keys

    def ranges(self, scratch: Scratch, progress: Progress | None) -> Iterator[Keys]:
        """Give all rows, sorted, in parts; `progress` is told of what comes before."""
        for keys in self._dealt(scratch, progress):
            if len(keys[0]):
                yield self._sorted(keys)

    def _dealt(self, scratch: Scratch, progress: Progress | None) -> Iterator[Keys]:
        """Give the rows in parts: those of a part come before those of the next."""
        rows = len(self.ids)
        if rows <= _RANGE:
            yield self.keys(slice(0, rows))
            return
        limits = self._limits()
        dealt = [scratch.array(rows) for _ in self.digits]
        bounds, told = [], telling(progress, "reading the n-grams", rows)
        for part in pieces(rows, _DEALT):
            keys = self.keys(part)
            numbers = np.searchsorted(limits, keys[0], "right").astype(np.uint16)
            order = np.argsort(numbers, kind="stable")
            for place, key in zip(dealt, keys, strict=True):
                place[part] = key[order]
            counts = np.bincount(numbers, minlength=len(limits) + 1)
            bounds.append(part.start + np.append(0, np.cumsum(counts)))
            told(part.stop - part.start)
        for parts in pairwise(np.stack(bounds, axis=1)):
            cuts = [slice(*both) for both in zip(*parts, strict=True)]
            yield [np.concatenate([place[cut] for cut in cuts]) for place in dealt]

    def _limits(self) -> Int64[np.ndarray, " limits"]:
        """Give first keys that cut the rows into ranges of about one size."""
        rows = len(self.ids)
        ranges = min(-(-rows // _RANGE), 1 << 15)
        starts = np.linspace(0, rows, 65, dtype=np.int64)
        sizes = np.minimum(np.diff(starts), _SAMPLE // 64)
        seen = np.concatenate(
            [
                self.keys(slice(start, start + size))[0]
                for start, size in zip(starts[:-1], sizes, strict=True)
            ]
        )
        seen.sort()
        return np.unique(seen[np.arange(1, ranges) * len(seen) // ranges])

    def _sorted(self, keys: Keys) -> Keys:
        """Sort rows by their first key, then the second, and so on."""
        order = np.argsort(keys[0])
        first = keys[0][order]
        made = [first]
        new = changes(first)
        for key, digits in zip(keys[1:], self.digits[1:], strict=True):
            numbers, size = np.cumsum(new) - 1, self.base**digits
            key = key[order]
            if len(key) * size <= _MOST:
                # Almost sorted as it is, which a stable sort makes use of.
                moved = np.argsort(numbers * size + key, kind="stable")
            else:
                moved = np.lexsort((key, numbers))
            order = order[moved]
            made.append(key[moved])
            new = new | changes(made[-1])
        return made

    def prefixes(self, keys: Keys) -> Iterator[Int64[np.ndarray, " rows"]]:
        """Give, order by order, each row up to its last token, as one integer.

        Rows that agree in all integers up to an order have the same n-gram there.
        """
        for key, digits in zip(keys, self.digits, strict=True):
            for left in reversed(range(digits)):
                yield key // self.base**left


def changes(
    values: Int64[np.ndarray, " rows"], before: int = 0
) -> Bool[np.ndarray, " rows"]:
    """Say of each row whether its value is another than that of the row before."""
    return np.diff(values, prepend=before) != 0
