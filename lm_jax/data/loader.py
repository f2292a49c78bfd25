"""Batches: `batch(step)` is a pure function, and some of them ahead of time."""

import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import grain
import numpy as np

from lm_jax.data.order import Order
from lm_jax.data.share import WHOLE, Share
from lm_jax.data.windows import Row


class Fed(NamedTuple):
    """A batch of training.

    Attributes:
        rows: its arrays.
        digest: their name; see `digest_of`.
    """

    rows: Row
    digest: int


def digest_of(arrays: Iterable[tuple[str, np.ndarray]]) -> int:
    """Name arrays by 32 bits: the CRC of their names, types, shapes and values."""
    found = 0
    for name, array in arrays:
        found = zlib.crc32(f"{name} {array.dtype.str} {array.shape}".encode(), found)
        found = zlib.crc32(np.ascontiguousarray(array).view(np.uint8), found)
    return found


def rows(
    dataset: grain.MapDataset,
    step: int,
    batch: int,
    start: int = 0,
    stop: int | None = None,
) -> Row:
    """Give rows start..stop of the global batch of a step, stacked.

    Row r of step s is `dataset[s * batch + r]`, so a process that asks for its
    own rows makes only those, and any number of processes makes one batch.
    """
    stop = batch if stop is None else stop
    first = step * batch
    found = [dataset[first + r] for r in range(start, stop)]
    return {name: np.stack([row[name] for row in found]) for name in found[0]}


def batches(
    dataset: grain.MapDataset,
    batch: int,
    first_step: int,
    last_step: int,
    start: int = 0,
    stop: int | None = None,
    threads: int = 2,
    ahead: int = 4,
) -> Iterator[Row]:
    """Give the batches of steps first_step to last_step - 1, made in threads.

    No process is forked, and there is no state to save: resuming is to start
    at another step.

    Args:
        dataset: endless rows, as of `Prepared.train`.
        batch: rows of the global batch.
        first_step: the step of the first batch.
        last_step: the step after that of the last batch.
        start: this process's first row of each batch.
        stop: the row after its last one; None for all.
        threads: how many batches are made at a time.
        ahead: how many batches wait, at most.
    """
    if last_step <= first_step:
        return iter(())
    dataset[first_step * batch + start]  # grain's first use is not thread-safe.

    def make(step: int) -> Row:
        return rows(dataset, step, batch, start, stop)

    return _ahead(make, first_step, last_step, threads, ahead)


def feed(
    order: Order, first_step: int, last_step: int, share: Share = WHOLE
) -> Iterator[Fed]:
    """Give the batches of steps first_step to last_step - 1, made in threads.

    Args:
        order: whose.
        first_step: the step of the first batch.
        last_step: the step after that of the last batch.
        share: this process's rows of each batch.
    """
    if last_step <= first_step:
        return iter(())
    order.row(first_step, 0)  # grain's first use is not thread-safe.

    def make(step: int) -> Fed:
        rows = order.batch(step, share)
        return Fed(rows, digest_of(rows.items()))

    return _ahead(make, first_step, last_step)


def _ahead(
    make: Callable[[int], Any], first: int, last: int, threads: int = 2, ahead: int = 4
) -> Iterator[Any]:
    made = grain.MapDataset.range(first, last).map(lambda step: make(int(step)))
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
    return iter(made.to_iter_dataset(options))
