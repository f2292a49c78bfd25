"""Bands are those of numpy; what is drawn is thinned, and its limits are sensible."""

import inspect
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.report.curves import Curves, band, limits, names, thinned
from lm_jax.runs.picture import smoothed
from tests.properties import quick

FINITE = st.floats(-1e3, 1e3)


@quick
@given(st.lists(st.tuples(FINITE, FINITE, FINITE), min_size=1, max_size=30))
def test_a_band_is_mean_smallest_and_largest_of_the_seeds(points):
    values = np.array(points).T
    steps = list(range(3, 3 + values.shape[1]))
    found = band([(steps, row.tolist()) for row in values])
    np.testing.assert_array_equal(found.steps, steps)
    np.testing.assert_allclose(found.mean, values.mean(axis=0))
    np.testing.assert_array_equal(found.low, values.min(axis=0))
    np.testing.assert_array_equal(found.high, values.max(axis=0))


def test_a_band_is_of_the_steps_that_all_seeds_have():
    found = band([([1, 2, 3], [1.0, 2.0, 3.0]), ([2, 3, 4], [4.0, 5.0, 6.0])])
    assert found.steps.tolist() == [2, 3] and found.mean.tolist() == [3.0, 4.0]
    assert band([([1], [1.0]), ([2], [1.0])]) is None and band([]) is None


def test_what_is_drawn_is_measured_and_no_name_of_something():
    """Digests of batches and parameters are numbers, and say nothing as curves."""
    rows = [{"step": 1, "loss": 2.0, "batch": 7, "grad_norm": 1.0}]
    rows.append({"step": 1, "parameters": 9, "validation_loss": 3.0, "own": 1.0})
    variants = [SimpleNamespace(members=[SimpleNamespace(metrics=rows)])]
    names_of = inspect.unwrap(names)  # of stand-ins
    found = list(names_of(variants, ["accuracy"]))
    assert found == ["validation_loss", "loss", "grad_norm", "own"]


def test_each_seed_is_smoothed_before_the_band():
    values = np.random.default_rng(0).normal(size=(3, 400))
    found = band([(list(range(400)), row.tolist()) for row in values], smooth=True)
    # A window of nine, centred.
    assert found.high[200] == pytest.approx(values[:, 196:205].mean(axis=1).max())
    np.testing.assert_allclose(found.low, smoothed(values).min(axis=0))


@quick
@given(st.integers(1, 5000), st.integers(2, 300))
def test_thinned_points_keep_both_ends(count, most):
    kept = thinned(count, most)
    assert kept[0] == 0 and kept[-1] == count - 1
    assert len(kept) == min(count, most) and (np.diff(kept) > 0).all()


def drawn(values):
    steps = np.arange(1, len(values) + 1)
    return [Curves(0, None, [(steps, np.array(values, float))])]


def test_one_spike_and_the_start_of_a_long_curve_set_no_limit():
    long = [9.0] * 30 + [2.0] * 400 + [1.0] * 20
    long[200] = 99.0
    low, high = limits(drawn(long), "loss")
    assert 0.9 < low < 1.0 and 2.0 < high < 2.1
    low, high = limits(drawn([9.0, 2.0, 1.0]), "loss")
    assert low < 1.0 and high > 9.0
    low, high = limits(drawn(long), "learning_rate")
    assert low < 0.0 and high > 99.0
    low, high = limits(drawn([3.0, 3.0]), "loss")
    assert low < 3.0 < high
