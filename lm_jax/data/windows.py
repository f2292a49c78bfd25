"""Evaluation: a whole split in disjoint windows, as a list of batches."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Row = dict[str, np.ndarray]
"""Named arrays of one example, each (context,)."""


@dataclass(frozen=True)
class Windows:
    """Batches that cover a split exactly once; the last is padded by zeros.

    `windows[k]` has the arrays of a row with an axis of `batch` before them.
    """

    count: int
    """Number of rows."""
    row: Callable[[int], Row]
    batch: int

    def __len__(self) -> int:
        """Give the number of batches."""
        return -(-self.count // self.batch)

    def __getitem__(self, index: int) -> Row:
        """Give the batch at an index, made anew."""
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        first = index * self.batch
        last = min(first + self.batch, self.count)
        rows = [self.row(i) for i in range(first, last)]
        missing = self.batch - len(rows)
        return {
            name: _padded(np.stack([row[name] for row in rows]), missing)
            for name in rows[0]
        }


def _padded(stacked: np.ndarray, missing: int) -> np.ndarray:
    return np.pad(stacked, [(0, missing), *[(0, 0)] * (stacked.ndim - 1)])


def stream_window(ids: np.ndarray, context: int, index: int) -> Row:
    """Give window `index` of a stream of tokens, padded by zeros at its end.

    Each token but the first of the stream is the target of one window.

    Args:
        ids: (tokens,).
        context: tokens of a window.
        index: 0 to `windows_of(ids, context) - 1`.
    """
    window = ids[index * context : (index + 1) * context + 1].astype(np.int32)
    real = len(window) - 1
    missing = context - real
    return {
        "inputs": np.pad(window[:-1], (0, missing)),
        "targets": np.pad(window[1:], (0, missing)),
        "mask": np.pad(np.ones(real, np.float32), (0, missing)),
    }


def windows_of(tokens: int, context: int) -> int:
    """Give the number of windows of a stream."""
    return max(0, -(-(tokens - 1) // context))
