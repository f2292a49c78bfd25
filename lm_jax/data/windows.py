"""Evaluation: a whole split in disjoint windows, as a list of batches."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lm_jax.data.share import WHOLE, Share

Row = dict[str, np.ndarray]
"""Named arrays of one example, each (context,)."""


@dataclass(frozen=True)
class Windows:
    """Batches that cover a split exactly once; the last is padded by zeros.

    `windows[k]` has the arrays of a row with an axis of `batch` before them. Rows of
    several lengths follow each other in groups, and no batch has two lengths.
    """

    count: int
    """Number of rows."""
    row: Callable[[int], Row]
    batch: int
    groups: tuple[tuple[int, int], ...] = ()
    """(rows, rows of a batch) of each length, where there are several."""
    order: np.ndarray | None = None
    """The number in the split of each row, where rows are in another order."""

    def __len__(self) -> int:
        """Give the number of batches."""
        return sum(-(-rows // batch) for rows, batch in self._groups)

    @property
    def _groups(self) -> tuple[tuple[int, int], ...]:
        return self.groups or ((self.count, self.batch),)

    def __getitem__(self, index: int) -> Row:
        """Give the batch at an index, made anew."""
        return self.share(index, WHOLE)

    def share(self, index: int, share: Share) -> Row:
        """Give a share of the rows of the batch at an index, made anew."""
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        first, last, batch = self._place(index)
        places = [first + place for place in share.places(batch)]
        rows = [self.row(i) for i in places if i < last]
        if not rows:  # the batch has one, and says what padding is like
            like = self.row(first)
            return {
                name: np.zeros((len(places), *array.shape), array.dtype)
                for name, array in like.items()
            }
        missing = len(places) - len(rows)
        return {
            name: _padded(np.stack([row[name] for row in rows]), missing)
            for name in rows[0]
        }

    def numbers(self, index: int) -> np.ndarray:
        """Give the number in the split of each row of a batch but the padded ones."""
        first, last, _ = self._place(index)
        return np.arange(first, last) if self.order is None else self.order[first:last]

    def _place(self, index: int) -> tuple[int, int, int]:
        """Give the first row of a batch, the row after its last, and its size."""
        begin = 0
        for rows, batch in self._groups:
            batches = -(-rows // batch)
            if index < batches:
                first = begin + index * batch
                return first, min(first + batch, begin + rows), batch
            index, begin = index - batches, begin + rows
        raise IndexError(index)


def _padded(stacked: np.ndarray, missing: int) -> np.ndarray:
    return np.pad(stacked, [(0, missing), *[(0, 0)] * (stacked.ndim - 1)])


def stream_window(
    ids: np.ndarray, context: int, index: int, stride: int | None = None
) -> Row:
    """Give window `index` of a stream of tokens, padded by zeros at its end.

    Each token but the first of the stream is the target of one window ("mask" is 1
    there), with at least context - stride tokens before it but in the first window.

    Args:
        ids: (tokens,).
        context: tokens of a window.
        index: 0 to `windows_of(ids, context, stride) - 1`.
        stride: tokens between the starts of two windows; None is the context.
    """
    step = stride or context
    window = ids[index * step : index * step + context + 1].astype(np.int32)
    real = len(window) - 1
    missing, scored_before = context - real, context - step if index else 0
    mask = np.ones(real, np.float32)
    mask[:scored_before] = 0.0
    return {
        "inputs": np.pad(window[:-1], (0, missing)),
        "targets": np.pad(window[1:], (0, missing)),
        "mask": np.pad(mask, (0, missing)),
    }


def windows_of(tokens: int, context: int, stride: int | None = None) -> int:
    """Give the number of windows of a stream."""
    after_first = max(0, tokens - 1 - context)
    return (tokens > 1) - (-after_first // (stride or context))
