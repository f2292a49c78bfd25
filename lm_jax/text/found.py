"""A corpus that was found, before anything is made of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from lm_jax.text.splitting import Piece


@dataclass(frozen=True)
class Text:
    """A corpus that was found: its pieces in order, read anew at each call."""

    digest: str
    """Of the text and of how it is cut and split."""
    statement: str
    documents: bool
    """Whether it is many documents, not one text."""
    bytes: int
    """About how many bytes of text there are."""
    pieces: Callable[[], Iterator[Piece]]
    labels: Callable[[], Iterator[tuple[str, str]]]
    """(split, label) of each document, or row of documents, in the order of the
    pieces."""
    noted: Callable[[], list[str]] = list
    """What the last whole reading of the pieces noticed, in sentences."""
    together: int = 1
    """Documents of a row, which have one label together: 2 where they are pairs."""
    may_lack: bool = False
    """Whether the second text of a row may be empty: nothing answers the first."""
    arrays: tuple[tuple[str, np.ndarray], ...] = ()
    """Where the corpus is ids, in place of pieces: (split, (tokens,) memory-mapped)."""
