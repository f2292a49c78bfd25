"""What a number of seeds can detect, by simulating the test that decides."""

from functools import cache

import numpy as np

from lm_jax.statistics.paired import permutation_test, smallest_p, t_test
from lm_jax.statistics.verdicts import PERMUTATION_PAIRS, T_PAIRS

_TRIALS = 1000
_EXACT = 10  # pairs; with more, t stands in for the permutations: they agree there
_LARGEST = 64.0  # standard deviations; what needs more is never detected


def power(pairs: int, effect: float, level: float, trials: int = _TRIALS) -> float:
    """How often a difference is found that is there.

    Args:
        pairs: of each trial, 5 or more.
        effect: the true difference, in standard deviations of the differences of pairs,
            which are drawn from a normal distribution.
        level: of the test; of one of m variants, the study's over m.
        trials: that are simulated, the same noise for every effect.
    """
    noise = np.random.default_rng(0).standard_normal((trials, pairs))
    decides = permutation_test if PERMUTATION_PAIRS <= pairs <= _EXACT else t_test
    return float((decides(noise + effect) < level).mean())


@cache
def detectable(pairs: int, level: float, wanted: float = 0.8) -> float | None:
    """The difference that so many pairs detect four times in five.

    Returns:
        It, in standard deviations of the differences, to 1%; None where no difference
        however large is: too few pairs for a verdict, or for the level.
    """
    if pairs < T_PAIRS or (pairs >= PERMUTATION_PAIRS and smallest_p(pairs) >= level):
        return None
    if power(pairs, _LARGEST, level) < wanted:
        return None
    low, high = 0.0, _LARGEST
    while high - low > 0.01 * high:
        middle = (low + high) / 2
        if power(pairs, middle, level) < wanted:
            low = middle
        else:
            high = middle
    return high
