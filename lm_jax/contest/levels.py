"""How sure each proposal must be, and that a whole loop of them seldom errs."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float

WHOLE = 0.01
"""How often a loop accepts anything that isn't better, however long it goes on."""

Draw = Callable[[np.random.Generator, tuple[int, int]], Float[np.ndarray, "loops n"]]


def level(proposal: int) -> float:
    """How often proposal 1, 2, ... may be accepted where it is no better.

    WHOLE * 6 / (pi k)^2: over all k they sum to WHOLE (Euler's sum of 1 / k^2).
    """
    return WHOLE * 6 / (math.pi * proposal) ** 2


def pairs_of(proposal: int) -> int:
    """The fewest pairs whose exact one-sided permutation test can reach the level.

    The smallest p of n pairs is 2^-n. With the fewest, twice that is above the level:
    so only differences that are all of one sign reach it.
    """
    return math.ceil(-math.log2(level(proposal)))


def decide(gains: Sequence[float], pairs: int) -> bool | None:
    """Accept or not, by the exact one-sided paired permutation test at the level.

    It is the sign of every pair that decides (see `pairs_of`), so the first pair that
    the candidate doesn't win ends the contest at once: no test could accept it later.

    Args:
        gains: of the pairs so far: by how much the candidate was better.
        pairs: that the proposal has.

    Returns:
        Whether it is accepted; None as long as that is open.
    """
    if not all(gain > 0 for gain in gains):
        return False
    return True if len(gains) == pairs else None


def normal(
    random: np.random.Generator, shape: tuple[int, int]
) -> Float[np.ndarray, "loops n"]:
    """Differences where there is none, from a normal distribution."""
    return random.standard_normal(shape)


def signed(stored: Sequence[float]) -> Draw:
    """Differences where there is none, drawn from measured ones, either way round."""

    def draw(
        random: np.random.Generator, shape: tuple[int, int]
    ) -> Float[np.ndarray, "loops n"]:
        return random.choice(np.asarray(stored), shape) * random.choice((-1, 1), shape)

    return draw


def simulate(
    loops: int, proposals: int, draw: Draw = normal, seed: int = 0
) -> Bool[np.ndarray, "loops proposals"]:
    """Play loops of proposals of which none is better.

    Args:
        loops: of a referee each.
        proposals: of each loop.
        draw: gives the differences of pairs.
        seed: of what is drawn.

    Returns:
        Which were accepted, falsely.
    """
    random = np.random.default_rng(seed)
    accepted = np.empty((loops, proposals), bool)
    for k in range(proposals):
        # As `decide`: a candidate that loses a pair is out.
        accepted[:, k] = (draw(random, (loops, pairs_of(k + 1))) > 0).all(axis=1)
    return accepted
