"""Randomness as a function of the seed, what it is for, and the place."""

from collections.abc import Callable
from hashlib import sha256

import grain
import numpy as np
from jaxtyping import Float

from lm_jax.data.windows import Row

Draw = Callable[[int], Float[np.ndarray, " n"]]
"""Of a number: so many numbers, uniform in [0, 1)."""


def derive(seed: int, *purpose: object) -> int:
    """Give a 32-bit seed for one purpose, unlike that of any other.

    Seeds that follow each other would not do: grain shuffles epoch e by the
    seed plus e, so that seed 0's second epoch would be seed 1's first.
    """
    name = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(sha256(name.encode()).digest()[:4], "big")


def endless(
    rows: int, seed: int, purpose: str, row: Callable[[int, int], Row]
) -> grain.MapDataset:
    """Give the endless data set of row(epoch, i), shuffled anew each epoch."""
    order = grain.MapDataset.range(rows).shuffle(seed=derive(seed, purpose)).repeat()
    return order.map_with_index(lambda index, i: row(index // rows, int(i)))


def uniform(seed: int, *purpose: object) -> Draw:
    """Give draws of one purpose: raw bits, the same with every numpy."""
    bits = np.random.Philox(key=derive(seed, *purpose))
    return lambda n: (bits.random_raw(n) >> np.uint64(11)) * 2.0**-53
