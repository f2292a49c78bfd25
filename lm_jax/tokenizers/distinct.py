"""The different words of texts, and where each stands: most of them come often.

What a word costs in Python (to be looked up, cut, encoded) is paid once for all the
places where it stands in a chunk of text; what is left for each place is Arrow's and
numpy's, which let other threads go on.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int32

# Of a group: more of the words have then been seen before.
_CHARACTERS = 1 << 21
# Below this, Arrow's calls cost more than they give.
_FEW = 1 << 12


class Distinct(NamedTuple):
    """The words of texts, one after the other.

    Attributes:
        words: each once.
        places: which of them stands at each place.
        lengths: how many words each text has.
    """

    words: list[str]
    places: Int[np.ndarray, " words"]
    lengths: Int[np.ndarray, " texts"]

    def counts(self) -> Int[np.ndarray, " distinct"]:
        """Give how often each word stands there."""
        return np.bincount(self.places, minlength=len(self.words))


def distinct(texts: Sequence[str], separator: str | None = None) -> Distinct:
    """Cut texts as `str.split` does.

    Args:
        texts: with no white space that ASCII lacks, where the separator is None.
        separator: what words stand between; None is white space.
    """
    if sum(map(len, texts)) >= _FEW:
        try:
            return _by_arrow(texts, separator)
        except UnicodeEncodeError:
            pass  # half a character, which Python's own strings can hold
    parts = [text.split(separator) for text in texts]
    seen: dict[str, int] = {}
    places = [seen.setdefault(w, len(seen)) for w in chain.from_iterable(parts)]
    lengths = np.fromiter(map(len, parts), np.int64, len(parts))
    return Distinct([*seen], np.array(places, np.int64), lengths)


def _by_arrow(texts: Sequence[str], separator: str | None) -> Distinct:
    import pyarrow as pa
    from pyarrow import compute

    if separator is None:
        texts = [text.strip() for text in texts]
        cut = compute.ascii_split_whitespace(pa.array(texts, pa.large_string()))
    else:
        cut = compute.split_pattern(pa.array(texts, pa.large_string()), separator)
    found = cut.values.dictionary_encode()
    places, lengths = found.indices.to_numpy(), np.diff(cut.offsets.to_numpy())
    if separator is None and not all(texts):  # Arrow gives an empty text one word.
        filled = np.fromiter(map(bool, texts), bool, len(texts))
        places, lengths = places[np.repeat(filled, lengths)], lengths * filled
    return Distinct(found.dictionary.to_pylist(), places, lengths)


def gathered(parts: Sequence[bytes], found: Distinct) -> list[Int32[np.ndarray, " _"]]:
    """Give the ids of each text, where those of each word are known.

    Args:
        parts: the ids of each of the words, int32.
        found: the words, and where they stand.
    """
    ids = np.frombuffer(b"".join(parts), np.int32)
    sizes = np.fromiter(map(len, parts), np.int64, len(parts)) // ids.itemsize
    taken = sizes[found.places]
    ends = np.cumsum(taken)
    # How far the ids of a place move, from where those of its word lie.
    moves = (np.cumsum(sizes) - sizes)[found.places] - (ends - taken)
    whole = ids[np.arange(ends[-1]) + np.repeat(moves, taken)]
    return np.split(whole, ends[np.cumsum(found.lengths)[:-1] - 1])


def groups(texts: Iterable[str]) -> Iterator[list[str]]:
    """Gather texts until they are long enough to be worth looking at together."""
    waiting: list[str] = []
    size = 0
    for text in texts:
        waiting.append(text)
        size += len(text) + 1
        if size >= _CHARACTERS:
            yield waiting
            waiting, size = [], 0
    if waiting:
        yield waiting
