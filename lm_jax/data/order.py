"""The order of training: which examples a step is trained on, in which shape."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import grain
import numpy as np
from jaxtyping import Int64

from lm_jax.data.randomness import derive
from lm_jax.data.share import WHOLE, Share
from lm_jax.data.windows import Row, Windows
from lm_jax.durations import parse_duration
from lm_jax.errors import UserError


class Size(NamedTuple):
    """How large a batch is: so many rows, or as many as so many tokens allow."""

    rows: int | None
    tokens: int | None

    def of_length(self, length: int) -> int:
        """Give the rows of a batch of examples of one length.

        Raises:
            UserError: not one example has so few tokens.
        """
        if self.rows is not None:
            return self.rows
        tokens = self.tokens or 0
        if tokens < length:
            raise UserError(
                f"batch='{tokens} tokens' is less than one example of {length} tokens. "
                f"Use --batch '{length} tokens' or more, or shorter examples."
            )
        return tokens // length


def batch_size(batch: int | str) -> Size:
    """Read the size of a batch: rows, or text such as "4096 tokens".

    Raises:
        UserError: when it is neither.
    """
    if isinstance(batch, int):
        if batch < 1:
            raise UserError(f"batch={batch}: a batch has 1 row or more.")
        return Size(batch, None)
    try:
        amount, unit = parse_duration(batch)
    except UserError:
        amount, unit = 0.0, ""
    if unit != "token" or not 1 <= amount < math.inf:
        raise UserError(
            f"batch='{batch}' is no size: write a number of rows, as 32, or of tokens, "
            "as '4096 tokens'."
        )
    return Size(None, int(amount))


class Shape(NamedTuple):
    """What a batch is compiled for."""

    rows: int
    length: int


@dataclass(frozen=True)
class Order:
    """The batches of training, one for each step, for ever.

    All of it is a pure function of the seed and of the size of a batch: step k is
    found without those before it, and its rows apart from each other.
    """

    shapes: tuple[Shape, ...]
    """The few shapes that batches have, the shortest length first."""
    shape: Callable[[int], Shape]
    """Of a step, from 0."""
    row: Callable[[int, int], Row]
    """Of a step and a place in its batch; zeros where nothing is left for it."""
    steps_per_epoch: float
    tokens: int
    """Real tokens of a step, padding not counted; their mean where that varies, to a
    whole token: by it, budgets of tokens are as long in later versions as before."""

    def batch(self, step: int, share: Share = WHOLE) -> Row:
        """Give the batch of a step, or a share of its rows."""
        found = [self.row(step, r) for r in share.places(self.shape(step).rows)]
        return {name: np.stack([row[name] for row in found]) for name in found[0]}


def even_order(
    rows: grain.MapDataset, batch: int, context: int, examples: int
) -> Order:
    """Give the order of examples of one length.

    Args:
        rows: the endless rows.
        batch: rows of a batch.
        context: tokens of a row.
        examples: rows of an epoch.
    """
    shape = Shape(batch, context)
    return Order(
        (shape,),
        lambda step: shape,
        lambda step, r: rows[step * batch + r],
        examples / batch,
        batch * context,
    )


Redraw = Callable[[Row, int, int, int], Row]
"""Of a row, the seed, the epoch and the example: the row that training reads."""


@dataclass(frozen=True)
class Buckets:
    """Examples of many lengths, sorted into a few."""

    lengths: tuple[int, ...]
    """What rows are padded to, the shortest first."""
    members: tuple[Int64[np.ndarray, " _"], ...]
    """The examples that fit each, and no shorter one."""
    row: Callable[[int, int], Row]
    """Of an example and a length: its arrays, padded to it by zeros."""
    tokens: int
    """Of all examples, without padding."""
    redraw: Redraw | None = None
    """What changes the rows of training, where they are augmented."""


def sort_by_length(
    sizes: Int64[np.ndarray, " examples"],
    lengths: Sequence[int],
    row: Callable[[int, int], Row],
) -> Buckets:
    """Sort examples into the lengths that they fit; the longest takes all others.

    Args:
        sizes: tokens of each example.
        lengths: what rows are padded or cut to, the shortest first.
        row: as of `Buckets`.
    """
    place = np.minimum(np.searchsorted(lengths, sizes), len(lengths) - 1)
    found = [
        (length, members)
        for k, length in enumerate(lengths)
        if len(members := np.flatnonzero(place == k))
    ]
    tokens = int(np.minimum(sizes, lengths[-1]).sum())
    return Buckets(tuple(n for n, _ in found), tuple(m for _, m in found), row, tokens)


def bucket_order(buckets: Buckets, seed: int, size: Size, ways: int = 1) -> Order:
    """Give the order of examples of varied lengths: a batch is of one length.

    An epoch has every example once. The examples of each length are shuffled, cut
    into batches, and the batches of all lengths shuffled; a length's last batch has
    what is left and rows of zeros, which weigh nothing.

    Args:
        buckets: the examples.
        seed: all that the order depends on, beside the size.
        size: of a batch.
        ways: what the rows of a batch must be divisible by: rows of zeros are added,
            and the others stay what and where they are.
    """
    full = [size.of_length(length) for length in buckets.lengths]
    batches = [-(-len(m) // n) for m, n in zip(buckets.members, full, strict=True)]
    ends = np.cumsum(batches)
    total = int(ends[-1])
    shapes = tuple(
        Shape(-(-n // ways) * ways, length)
        for n, length in zip(full, buckets.lengths, strict=True)
    )
    steps = _shuffled(total, seed, "batches")
    orders = [
        _shuffled(len(members), seed, "examples", length)
        for members, length in zip(buckets.members, buckets.lengths, strict=True)
    ]
    empty = [  # as a row that fits: no other can be made so short
        {k: np.zeros_like(array) for k, array in buckets.row(int(m[0]), length).items()}
        for m, length in zip(buckets.members, buckets.lengths, strict=True)
    ]

    # Every row of a batch asks, and drawing from few batches takes up to 1 ms.
    @lru_cache(maxsize=64)
    def bucket(step: int) -> tuple[int, int]:
        """Give the bucket of a step, and which of its batches in the epoch."""
        number = int(steps[step])
        k = int(np.searchsorted(ends, number, "right"))
        return k, number - int(ends[k]) + batches[k]

    def row(step: int, r: int) -> Row:
        k, batch = bucket(step)
        members, place = buckets.members[k], batch * full[k] + r
        if r >= full[k] or place >= len(members):
            return empty[k]
        epoch = step // total
        example = int(members[orders[k][epoch * len(members) + place]])
        made = buckets.row(example, buckets.lengths[k])
        if buckets.redraw is None:
            return made
        return buckets.redraw(made, seed, epoch, example)

    mean = round(buckets.tokens / total)
    return Order(shapes, lambda step: shapes[bucket(step)[0]], row, float(total), mean)


def _shuffled(count: int, seed: int, *purpose: object) -> grain.MapDataset:
    """Give 0 to count - 1 in an order that is another each epoch."""
    order = grain.MapDataset.range(count)
    return order.shuffle(seed=derive(seed, "buckets", *purpose)).repeat()


def bucket_windows(buckets: Buckets, batch: int) -> Windows:
    """Give the evaluation batches of examples of varied lengths, each once.

    Args:
        buckets: the examples.
        batch: rows of a batch of the longest; of shorter ones, more in proportion.
    """
    longest = buckets.lengths[-1]
    order = np.concatenate(buckets.members)
    ends = np.cumsum([len(members) for members in buckets.members])
    groups = tuple(
        (len(members), batch * (longest // length))
        for members, length in zip(buckets.members, buckets.lengths, strict=True)
    )

    def row(index: int) -> Row:
        k = int(np.searchsorted(ends, index, "right"))
        return buckets.row(int(order[index]), buckets.lengths[k])

    return Windows(len(order), row, batch, groups, order)
