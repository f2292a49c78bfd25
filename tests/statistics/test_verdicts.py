"""Verdicts find what was planted, and only that."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lm_jax.ablation import PublishedEffect, Study
from lm_jax.errors import UserError
from lm_jax.statistics.verdicts import agreement, compare
from lm_jax.statistics.words import basis
from tests.properties import quick

STUDY = Study()


def noise(seeds, effect=0.0, deviation=0.01, seed=0):
    return np.random.default_rng(seed).normal(effect, deviation, seeds)


def judged(differences, study=STUDY, larger_is_better=False):
    (found,) = compare(np.array([differences], float), study, larger_is_better)
    return found


def verdict(*args, **options):
    return judged(*args, **options).verdict


@pytest.mark.parametrize("seeds", [5, 7, 8])
def test_what_was_planted_is_found(seeds):
    assert verdict(noise(seeds, -0.05)) == "better"
    assert verdict(noise(seeds, 0.05)) == "worse"
    assert verdict(noise(seeds, 0.05), larger_is_better=True) == "better"


def test_four_pairs_give_no_verdict():
    found = judged(noise(4, 1.0), Study(smallest=9.0))
    assert found.verdict == "too few seeds" and found.mean > 0.9


def test_from_eight_pairs_on_the_permutations_decide():
    # One pair so far off that no normal distribution could have drawn it.
    pairs = [0.01, 0.012, 0.011, 0.013, 0.01, 0.012, 0.011]
    found = judged([*pairs, 0.5])
    assert found.t > 0.05 > found.permutation and found.verdict == "worse"
    found = judged([*pairs[:5], 0.5])
    assert found.t > 0.05 > found.permutation and found.verdict == "inconclusive"


def test_no_difference_is_said_only_where_the_whole_interval_is_small():
    study = Study(smallest=0.02)
    assert verdict(noise(8, 0.001), study) == "no difference larger than 0.02"
    assert verdict(noise(8, 0.001, 0.05), study) == "inconclusive"
    assert verdict(noise(8, 0.001)) == "inconclusive"
    # What is surely there and doesn't matter.
    assert verdict(noise(8, 0.005, 0.001)) == "worse"
    assert verdict(noise(8, 0.005, 0.001), study) == "no difference larger than 0.02"


def test_many_variants_need_more():
    clear = -np.array([1, 2, 3, 4, 6])  # p = 0.02
    found = np.array([clear, *(noise(5, seed=s) for s in range(9))])
    (alone,) = compare(found[:1], STUDY, False)
    among, *_ = compare(found, STUDY, False)
    assert (alone.verdict, among.verdict) == ("better", "inconclusive")
    assert among.t == alone.t and among.interval > 1.5 * alone.interval


def test_the_interval_is_that_of_student():
    found = judged([1, 2, 3, 4, 6])
    told = stats.ttest_1samp([1.0, 2.0, 3.0, 4.0, 6.0], 0).confidence_interval()
    assert found.mean + found.interval == pytest.approx(told.high)


@pytest.mark.parametrize("seeds", [5, 8])
def test_false_verdicts_are_as_rare_as_the_level(seeds):
    """Three variants that differ in nothing, 100 times: seldom a verdict of any."""
    studies = np.random.default_rng(seeds).normal(size=(100, 3, seeds))
    wrong = 0
    for differences in studies:
        found = {each.verdict for each in compare(differences, STUDY, False)}
        wrong += found != {"inconclusive"}
    assert 1 <= wrong <= stats.binom.ppf(0.999, 100, STUDY.level)


@quick
@given(st.lists(st.integers(-9, 9), min_size=5, max_size=8), st.integers(-99, 99))
def test_signs_and_shifts_change_only_what_they_should(differences, shift):
    study = Study(smallest=2.0)
    scores = [float(shift + k) for k in range(len(differences))]
    pairs = [x + d - x for x, d in zip(scores, differences, strict=True)]
    swapped = {"better": "worse", "worse": "better"}
    here, there = verdict(pairs, study), verdict([-x for x in pairs], study)
    assert there == swapped.get(here, here)
    assert here == verdict(differences, study)


@pytest.mark.parametrize(
    ("field", "value"), [("seeds", 0), ("seeds", 21), ("smallest", 0.0), ("level", 1.0)]
)
def test_a_study_that_can_say_nothing_is_refused(field, value):
    with pytest.raises(UserError, match=f"study.{field}"):
        Study(**{field: value})


def agrees(published, differences, study=STUDY, measure=None):
    effect = PublishedEffect(published, "Su 2021", measure)
    return agreement(effect, judged(differences, study), "loss")


@pytest.mark.parametrize(
    ("published", "ours", "said"),
    [
        (-0.05, -0.05, "direction and size agree"),
        (-0.50, -0.05, "direction agrees, ours is smaller"),
        (-0.01, -0.05, "direction agrees, ours is larger"),
        (0.05, -0.05, "the opposite direction"),
        (0.05, 0.05, "direction and size agree"),
        (-0.05, 0.0, "can't tell"),
    ],
)
def test_what_was_published_agrees_only_with_a_verdict(published, ours, said):
    assert agrees(published, noise(8, ours)) == said
    # The same differences from too few seeds say nothing.
    assert agrees(published, noise(8, ours)[:4]) == "can't tell"


def test_where_nothing_differs_a_large_published_effect_is_not_ours():
    study = Study(smallest=0.02)
    assert agrees(-0.5, noise(8, 0.001), study) == "ours is smaller"
    assert agrees(-0.005, noise(8, 0.001), study) == "can't tell"


def test_of_another_measure_only_the_direction_agrees():
    assert agrees(-9.0, noise(8, -0.05), measure="perplexity") == "direction agrees"
    assert agrees(0.02, noise(8, -0.05), measure="accuracy") == "direction agrees"
    opposite = agrees(-0.02, noise(8, -0.05), measure="accuracy")
    assert opposite == "the opposite direction"


@pytest.mark.parametrize("given", [(0.0, "Su"), (float("nan"), "Su"), (0.1, " ")])
def test_an_effect_is_a_difference_with_a_source(given):
    with pytest.raises(UserError, match="PublishedEffect"):
        PublishedEffect(*given)


@pytest.mark.parametrize("pairs", [3, 5, 8])
def test_intervals_of_several_variants_are_said_to_hold_at_once(pairs):
    assert "All 3 intervals hold at once" in basis(pairs, 0.05, 3)
    assert "at once" not in basis(pairs, 0.05)
