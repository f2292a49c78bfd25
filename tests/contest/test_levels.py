"""A whole loop of proposals seldom accepts what is no better."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lm_jax.contest.levels import (
    WHOLE,
    decide,
    level,
    normal,
    pairs_of,
    signed,
    simulate,
)


def test_the_levels_of_all_proposals_sum_to_the_whole():
    total = sum(level(k) for k in range(1, 100_001))
    assert total < WHOLE
    assert total == pytest.approx(WHOLE, rel=1e-4)


@given(st.integers(1, 10_000))
def test_the_pairs_are_the_fewest_that_reach_the_level(k):
    n = pairs_of(k)
    assert 2.0**-n <= level(k) < 2.0 ** (1 - n)
    assert pairs_of(k + 1) >= n


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_decision_is_that_of_the_exact_permutation_test(k):
    """Of gains of all kinds: few lost, much won; all won; all lost."""
    n, random = pairs_of(k), np.random.default_rng(k)
    gains = random.standard_normal((40, n)) + np.linspace(-1, 4, 40)[:, None]
    gains[-1, 0] = -1e-9
    found = stats.permutation_test(
        (gains,),
        np.mean,
        permutation_type="samples",
        alternative="greater",
        n_resamples=np.inf,
        vectorized=True,
        axis=-1,
    )
    accepted = [decide(list(row), n) for row in gains]
    assert accepted == list(found.pvalue <= level(k))
    assert True in accepted and False in accepted


@given(st.lists(st.floats(-1, 1), max_size=12), st.integers(1, 12))
def test_what_is_decided_early_could_not_have_been_otherwise(gains, pairs):
    gains = gains[:pairs]
    whole = decide(gains, pairs)
    for k in range(len(gains)):
        assert decide(gains[:k], pairs) in (None, whole)
    if len(gains) == pairs:
        assert whole is not None


@given(st.lists(st.floats(-1, 1), min_size=8, max_size=8))
def test_the_simulated_referee_decides_as_the_real_one(gains):
    def drawn(_, shape):
        return np.array([gains])

    assert simulate(1, 1, drawn)[0, 0] == decide(gains, 8)


@pytest.mark.parametrize("draw", [normal, signed([0.1, -0.02, 0.3, 0.004, 1.7])])
def test_a_thousand_loops_err_no_oftener_than_is_said(draw):
    """30 proposals each, none of them better."""
    wrong = int(simulate(1000, 30, draw).any(axis=1).sum())
    low, high = stats.binom.interval(0.999, 1000, WHOLE)
    assert wrong <= high
    # The levels are nearly used: each proposal's test reaches half of its own or more.
    expected = 1 - math.prod(1 - 2.0 ** -pairs_of(k) for k in range(1, 31))
    assert WHOLE / 2 < expected < WHOLE
    low, high = stats.binom.interval(0.999, 1000, expected)
    assert low <= wrong <= high
