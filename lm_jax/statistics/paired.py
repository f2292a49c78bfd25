"""Tests of differences between pairs of runs: SciPy's, over many trials at once.

SciPy's statistics take seconds to import, so they are where they are used.
"""

import math
import warnings

import numpy as np
from jaxtyping import Float

Differences = Float[np.ndarray, "*trials pairs"]
PValues = Float[np.ndarray, "*trials"]

EXACT_PAIRS = 20  # of whose signs all ways are gone through: a million
_DRAWN = 99_999  # ways, of more pairs


def t_test(differences: Differences) -> PValues:
    """Student's paired t test, two-sided; differences are taken for normal.

    Returns:
        p of each trial; 1 where no pair differs.
    """
    from scipy import stats

    with warnings.catch_warnings(action="ignore"):  # of pairs that differ by the same
        found = stats.ttest_1samp(differences, 0.0, axis=-1).pvalue
    return np.where(np.isnan(found), 1.0, found)


def t_test_of_mean(
    scores: Float[np.ndarray, " runs"], target: float, larger: bool
) -> float:
    """Student's t test of whether a mean is better than a target, one-sided.

    Args:
        scores: of runs, taken for normal.
        target: that they are meant to be better than.
        larger: whether more is better.

    Returns:
        p: how often chance alone gives such scores at the target; 1 where all are the
            target itself, NaN of fewer than 2.
    """
    from scipy import stats

    side = "greater" if larger else "less"
    with warnings.catch_warnings(action="ignore"):  # of scores that are all the same
        found = float(stats.ttest_1samp(scores, target, alternative=side).pvalue)
    return 1.0 if len(scores) > 1 and math.isnan(found) else found


def permutation_test(differences: Differences) -> PValues:
    """The paired permutation test, two-sided; exact up to 20 pairs.

    Without a difference either of a pair could have been the other (Fisher 1935): the
    mean is compared with those of all ways to change signs. Nothing is said of how
    differences are distributed. Of more pairs 99,999 ways are drawn: all of them would
    take hours.

    Returns:
        p of each trial, never below `smallest_p`.
    """
    from scipy import stats

    found = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf if differences.shape[-1] <= EXACT_PAIRS else _DRAWN,
        rng=np.random.default_rng(0),
        batch=max(1, 2**17 // differences.size),
        axis=-1,
    )
    return np.asarray(found.pvalue)


def smallest_p(pairs: int) -> float:
    """The smallest p that a permutation test of so many pairs can give: 2 / 2^pairs."""
    return 2.0 ** (1 - pairs)


def holm(p_values: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """Holm's adjusted p values: below a level, all together err that often.

    The k-th smallest of m is multiplied by m + 1 - k, and is no smaller than those
    before it (Holm 1979).
    """
    order = np.argsort(p_values, kind="stable")
    factors = len(order) - np.arange(len(order))
    adjusted = np.maximum.accumulate(p_values[order] * factors)
    found = np.empty(len(order))
    found[order] = np.minimum(adjusted, 1.0)
    return found
