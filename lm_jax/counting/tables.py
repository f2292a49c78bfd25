"""The n-grams of a stream of tokens, counted order by order.

An n-gram is known by its id: its place among the n-grams of its order, sorted.
Its key is one integer, (id of its context) * vocab_size + (its last token),
where its context is the n-gram of the order below that it begins with. So keys
stay small whatever the order, and the n-grams that share a context lie together.
The one n-gram of order 0 is empty and has id 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64, Int64, Integer, Real

from lm_jax.counting.scratch import Progress, Scratch, Told, pieces, telling
from lm_jax.counting.sorting import Rows, changes

Ends = int | tuple[int, ...] | None
"""The token, or the tokens, that end a sentence or document; None where none does."""

NEVER = np.iinfo(np.int64).max
"""The last key of a table: of what was never seen."""


@dataclass(frozen=True)
class Counts:
    """The n-grams of one order, or a piece of them, and how often each occurred."""

    vocab_size: int
    first_context: int
    contexts_below: int
    """From the first on, how many n-grams the order below has: each is a context
    here."""
    table: Int64[np.ndarray, "..."]
    """The key of each n-gram, sorted, and one more, `NEVER` after the last; see the
    top of this file."""
    suffixes: Int64[np.ndarray, " grams"]
    """Id of each n-gram without its first token, in the order below."""
    counts: Int64[np.ndarray, " grams"]
    """Occurrences in the stream."""
    continuations: Int64[np.ndarray, " grams"]
    """Different tokens that each n-gram follows. Where a context begins anew
    nothing is there to follow: these occurrences count one each. For the
    highest order: the occurrences."""

    @property
    def keys(self) -> Int64[np.ndarray, " grams"]:
        """Give the key of each n-gram."""
        return self.table[:-1]

    @property
    def contexts(self) -> Int64[np.ndarray, " grams"]:
        """Give the id of each n-gram's context, from the first on."""
        return self.keys // self.vocab_size - self.first_context

    def totals(
        self, values: Real[np.ndarray, " grams"]
    ) -> Float64[np.ndarray, " contexts"]:
        """Give, for each context, the sum of the values of its n-grams."""
        # Of no values at all numpy gives integers.
        sums = np.bincount(self.contexts, values, self.contexts_below)
        return sums.astype(np.float64, copy=False)

    def pieces(self) -> Iterator[tuple[slice, slice, "Counts"]]:
        """Give whole contexts, about as many n-grams at once as a piece has.

        Each comes with the places of its n-grams and of its contexts.
        """
        first, start, last = 0, 0, -1
        while last < self.contexts_below:
            stop = start + next(pieces(len(self.keys) - start), slice(0)).stop
            last = self.contexts_below
            if stop < len(self.keys):
                last = int(self.keys[stop - 1]) // self.vocab_size + 1
                stop = int(np.searchsorted(self.keys, last * self.vocab_size))
            grams = slice(start, stop)
            yield (
                grams,
                slice(first, last),
                Counts(
                    self.vocab_size,
                    first,
                    last - first,
                    self.table[start : stop + 1],
                    self.suffixes[grams],
                    self.counts[grams],
                    self.continuations[grams],
                ),
            )
            first, start = last, stop


def count(
    ids: Integer[np.ndarray, " tokens"],
    order: int,
    vocab_size: int,
    end_id: Ends,
    progress: Progress | None = None,
    scratch: Scratch = Scratch(),
) -> list[Counts]:
    """Count the n-grams of the orders 1 to ``order``.

    Time grows as tokens * log(tokens). Arrays in step with the tokens lie in files
    where they are large.

    Args:
        ids: the stream.
        order: the highest order.
        vocab_size: number of ids.
        end_id: see `context_lengths`.
        progress: told of the rows that are sorted, then of the n-grams.
        scratch: where large arrays lie.
    """
    ends = [] if end_id is None else np.atleast_1d(end_id).tolist()
    rows = Rows(ids, order, vocab_size, tuple(ends))
    sorted_rows = _sorted(rows, scratch, progress)
    told = telling(progress, "counting", sum(found.size for found in sorted_rows))
    levels: list[Counts] = []
    for found in sorted_rows:
        table, counts = found.whole()
        below = len(levels[-1].keys) if levels else 1
        suffixes = scratch.array(found.size)
        _fill_suffixes(suffixes, table, levels[-1] if levels else None, told)
        levels.append(Counts(vocab_size, 0, below, table, suffixes, counts, counts))
    firsts, anew = _first(levels, rows), _anew(levels, rows)
    for place, above in enumerate(levels[1:]):
        follows = scratch.array(len(levels[place].keys))
        _fill_continuations(follows, levels[place], above, next(firsts), next(anew))
        levels[place] = replace(levels[place], continuations=follows)
    return levels


@dataclass
class _Found:
    """The n-grams of one order that were found so far; the last may go on."""

    counts: Int64[np.ndarray, " most"]
    table: Int64[np.ndarray, " most+1"]
    size: int = 0
    before: int = -1
    """The last row up to this order."""

    def whole(self) -> tuple[np.ndarray, np.ndarray]:
        """Give the table, closed by `NEVER`, and the counts."""
        self.table[self.size] = NEVER
        return self.table[: self.size + 1], self.counts[: self.size]

    def add(
        self,
        contexts: Int64[np.ndarray, " rows"],
        words: Int64[np.ndarray, " rows"],
        new: Bool[np.ndarray, " rows"],
        vocab_size: int,
    ) -> Int64[np.ndarray, " rows"]:
        """Add sorted rows.

        Args:
            contexts: id of each row's context.
            words: its last token; -1 where it has none.
            new: whether it is another row than the one before.
            vocab_size: number of ids.

        Returns:
            The id of the n-gram of each row that has a last token.
        """
        starts = np.flatnonzero(new)
        counts = np.diff(starts, append=len(new))
        if words[0] >= 0:  # Rows before the first new one belong to the last n-gram.
            self.counts[self.size - 1 : self.size] += len(new) - counts.sum()
        there = words[starts] >= 0
        starts, counts = starts[there], counts[there]
        added = slice(self.size, self.size + len(starts))
        self.table[added] = contexts[starts] * vocab_size + words[starts]
        self.counts[added] = counts
        numbers = np.cumsum(new & (words >= 0)) + (self.size - 1)
        self.size = added.stop
        return numbers


def _sorted(rows: Rows, scratch: Scratch, progress: Progress | None) -> list[_Found]:
    """Sort the rows of a stream and find the n-grams of each order in them."""
    size = len(rows.ids)
    found = [
        _Found(scratch.array(size), scratch.array(size + 1)) for _ in range(rows.order)
    ]
    told = telling(progress, "sorting the n-grams", size)
    for keys in rows.ranges(scratch, progress):
        ids = np.zeros(len(keys[0]), np.int64)
        new = np.zeros(len(ids), bool)
        for each, values in zip(found, rows.prefixes(keys), strict=True):
            new = new | changes(values, each.before)
            ids = each.add(ids, values % rows.base - 1, new, rows.vocab_size)
            each.before = int(values[-1])
        told(len(ids))
    return found


def _fill_suffixes(
    suffixes: Int64[np.ndarray, " grams"],
    table: Int64[np.ndarray, " _"],
    below: Counts | None,
    told: Told,
) -> None:
    """Find each n-gram without its first token in the order below."""
    for part in pieces(len(suffixes)):
        if below is None:
            suffixes[part] = 0
        else:
            contexts = table[part] // below.vocab_size
            words = table[part] - contexts * below.vocab_size
            # Of n-grams that begin alike they ascend: the search stays near the last.
            keys = below.suffixes[contexts] * below.vocab_size + words
            suffixes[part] = np.searchsorted(below.keys, keys)
        told(part.stop - part.start)


def _first(levels: list[Counts], rows: Rows) -> Iterator[slice]:
    """Give the id of the n-gram that begins the stream, order by order."""
    place, there = 0, True
    for level, word in zip(levels, rows.ids[: rows.order], strict=True):
        key = place * level.vocab_size + int(word)
        place = int(np.searchsorted(level.keys, key))
        there = there and level.table[place] == key
        yield slice(place, place + there)


def _anew(levels: list[Counts], rows: Rows) -> Iterator[list[slice]]:
    """Give the ids of the n-grams that begin with an end: nothing comes before it."""
    spans = np.array([[end, end + 1] for end in rows.ends], np.int64).reshape(-1, 2)
    for order, level in enumerate(levels, 1):
        spans = np.searchsorted(level.keys, spans)
        yield [slice(*span) for span in spans] if order > 1 else []
        spans = spans * level.vocab_size


def _fill_continuations(
    follows: Int64[np.ndarray, " grams"],
    level: Counts,
    above: Counts,
    first: slice,
    anew: list[slice],
) -> None:
    """Count the different tokens before each n-gram, and the times there is none."""
    follows[:] = 0
    for part in pieces(len(above.keys)):
        np.add.at(follows, above.suffixes[part], 1)
    follows[first] += 1
    for part in anew:
        follows[part] = level.counts[part]


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
