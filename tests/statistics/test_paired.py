"""Paired tests: what few pairs can reach, Holm by hand, and what changes nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lm_jax.statistics.paired import (
    holm,
    permutation_test,
    smallest_p,
    t_test,
    t_test_of_mean,
)
from tests.properties import quick

whole = st.lists(st.integers(-50, 50), min_size=2, max_size=9)


@pytest.mark.parametrize(("pairs", "p"), [(3, 0.25), (6, 0.03125), (8, 0.0078125)])
def test_the_smallest_p_of_so_few_pairs(pairs, p):
    assert smallest_p(pairs) == p
    assert permutation_test(np.linspace(1, 2, pairs)) == p


def test_t_is_that_of_two_samples():
    a, b = np.random.default_rng(0).normal(size=(2, 7))
    assert t_test(a - b) == pytest.approx(stats.ttest_rel(a, b).pvalue)


def test_permutations_are_counted():
    # Of the 8 ways to sign 1, 2, 4, the means 7 and 5 are as large as that of 4+2-1.
    assert permutation_test(np.array([-1.0, 2.0, 4.0])) == pytest.approx(2 * 2 / 8)


def test_of_many_pairs_some_permutations_are_drawn():
    """Of 40 there are a million millions: the p is near the normal distribution's."""
    found = np.random.default_rng(2).normal(0.3, size=40)
    near = 2 * stats.norm.sf(abs(found.sum()) / np.linalg.norm(found))
    assert permutation_test(found) == pytest.approx(near, rel=0.1)
    assert permutation_test(found) == permutation_test(found) > 1e-5


def test_pairs_that_are_equal_differ_by_chance():
    assert t_test(np.zeros(5)) == permutation_test(np.zeros(5)) == 1.0


def test_scores_that_are_the_target_are_not_better():
    assert t_test_of_mean(np.full(5, 2.5), 2.5, larger=False) == 1.0
    assert np.isnan(t_test_of_mean(np.array([2.4]), 2.5, larger=False))


def test_trials_are_tested_apart():
    trials = np.random.default_rng(0).normal(0.5, size=(4, 6))
    for test in (t_test, permutation_test):
        together = test(trials)
        np.testing.assert_allclose(together, [test(each) for each in trials])


@quick
@given(whole)
def test_which_of_two_comes_first_changes_no_p(differences):
    found = np.array(differences, float)
    for test in (t_test, permutation_test):
        assert test(found) == pytest.approx(test(-found))


@quick
@given(whole, st.integers(-3, 3))
def test_a_scale_changes_no_p(differences, power):
    found = np.array(differences, float)
    for test in (t_test, permutation_test):
        assert test(found) == pytest.approx(test(found * 2.0**power))


def test_holm_by_hand():
    # Sorted: .01 x 4, .02 x 3, .03 x 2, .20 x 1; none may fall below that before it.
    by_hand = [0.06, 0.04, 0.2, 0.06]
    np.testing.assert_allclose(holm(np.array([0.03, 0.01, 0.2, 0.02])), by_hand)
    assert holm(np.array([0.7, 0.9])).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("pairs", [5, 6, 8])
def test_under_the_null_p_is_as_small_as_it_says(pairs):
    """Of 2,000 trials without a difference, so many as the binomial allows."""
    noise = np.random.default_rng(pairs).normal(size=(2000, pairs))
    for test in (t_test, permutation_test):
        low, high = stats.binom.interval(0.998, 2000, 0.0625)
        assert low <= (test(noise) <= 0.0625).sum() <= high
