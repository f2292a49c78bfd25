"""What so many seeds can detect."""

import pytest
from scipy import stats

from lm_jax.statistics.power import detectable, power


def test_power_is_that_of_student():
    shift = 1.5 * 5**0.5
    ends = stats.t.ppf(0.975, 4)
    exact = stats.nct.sf(ends, 4, shift) + stats.nct.cdf(-ends, 4, shift)
    assert power(5, 1.5, 0.05) == pytest.approx(exact, abs=0.04)


def test_without_an_effect_power_is_the_level():
    for pairs in (6, 8):
        assert power(pairs, 0.0, 0.05) == pytest.approx(0.05, abs=0.02)


def test_more_seeds_detect_less_and_too_few_nothing():
    assert detectable(4, 0.05) is None
    assert 1.5 < detectable(5, 0.05) < 1.9
    assert detectable(8, 0.05) < detectable(6, 0.05)
    assert power(6, detectable(6, 0.05), 0.05) == pytest.approx(0.8, abs=0.02)
    # The smallest p of eight pairs is 0.0078: never below a level of 0.05 / 7.
    assert detectable(8, 0.05 / 7) is None
    assert detectable(12, 0.05 / 120) is None  # nor that of twelve, 0.00049
