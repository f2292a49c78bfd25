"""A variant is given as much as its reference, or refused with the closest."""

from dataclasses import replace
from pathlib import Path

import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.ablation import Study, match
from lm_jax.ablation.match import matched, solve
from lm_jax.ablation.plan import make_plan
from lm_jax.ablation.plan_file import claim_plan, written
from lm_jax.errors import UserError
from lm_jax.experiment import load
from lm_jax.models import NoPositions
from lm_jax.training.setup import set_up
from tests.properties import quick
from tests.tiny import write_tiny


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    """Where nothing may be compiled."""
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)

    def compiles(*args, **named):
        raise AssertionError("compiled")

    monkeypatch.setattr(jax.stages.Lowered, "compile", compiles)


@pytest.fixture
def base(in_folder):
    experiment = load("tiny.py").experiment
    return replace(experiment, budget="1000 steps")


def plan(base, study, **variant):
    other = replace(base, model=base.model.clone(**variant))
    return make_plan({"base": base, "other": other}, Path("runs/tiny"), study)


def solved(base, study, **variant):
    _, other = matched(plan(base, study, **variant)).variants
    return other


@quick
@given(
    st.sets(st.integers(1, 100), min_size=1),
    st.integers(1, 3),
    st.integers(-9, 99999),
    st.data(),
)
def test_the_nearest_of_the_numbers_that_fit_is_found(fitting, power, goal, data):
    start = data.draw(st.sampled_from(sorted(fitting)))

    def amount(number):
        return float(number**power) if number in fitting else None

    found = solve(amount, start, float(goal))
    near = [abs(amount(n) - goal) for n in fitting if n <= 64 * start]
    assert found in fitting and abs(amount(found) - goal) == min(near)


def test_parameters_are_matched_to_a_hundredth_by_the_first_field_that_can(base):
    study = Study(match="parameters")
    other = solved(base, study, positions=NoPositions())
    ((field, (before, after)),) = other.matched.changes.items()
    assert field == "model.feedforward.ratio" and before == 4.0
    assert other.experiment.model.feedforward.ratio == after > 4.0
    here, there = (set_up(e).parameters for e in (other.experiment, base))
    assert here / there - 1 == other.matched.off and abs(other.matched.off) <= 0.01


@pytest.mark.slow
def test_where_no_field_does_alone_the_last_is_coarse_and_the_first_is_fine(base):
    base = replace(base, model=base.model.clone(width=24, heads=4))
    by = ("model.feedforward.ratio", "model.width")
    other = solved(base, Study(match="parameters", match_by=by), layers=4)
    assert list(other.matched.changes) == ["model.width", "model.feedforward.ratio"]
    here, there = (set_up(e).parameters for e in (other.experiment, base))
    assert abs(here / there - 1) <= 0.01
    assert other.experiment.model.width % 4 == 0


def test_flops_are_matched_by_steps(base):
    other = solved(base, Study(match="flops"), width=32)
    assert list(other.matched.changes) == ["budget"]
    here, there = (set_up(e) for e in (other.experiment, base))
    flops = [each.total * each.units.flops for each in (here, there)]
    assert abs(flops[0] / flops[1] - 1) <= 0.01 and here.total < 500


def test_what_is_as_much_already_is_left_as_it_is(base):
    other = solved(base, Study(match="flops"), dropout=0.2)
    assert other.matched is None and other.experiment.budget == "1000 steps"


def test_time_is_measured_once_and_kept_in_the_plan(base, monkeypatch):
    def measured(*times):
        monkeypatch.setattr(match, "seconds_of_step", lambda s, t=iter(times): next(t))
        return matched(plan(base, Study(match="time"), layers=2))

    first = measured(0.01, 0.015)
    assert first.variants[1].experiment.budget == "667 steps"
    claim_plan(first)
    again = measured()
    assert written(again) == written(first)
    assert claim_plan(again) is False


REFUSED = [
    ({"match_by": "model.layers"}, {"width": 12}, r"closest is model.layers=2 \(\+"),
    ({"match_by": "model.layers"}, {"width": 32}, r"The closest is as it is \(\+"),
    ({"match_by": ("model.experts",)}, {"width": 32}, "no number called model.experts"),
    ({"match_by": ("model.width",)}, {"width": 32}, "'other' is the same as 'base'"),
]


@pytest.mark.parametrize(("fields", "variant", "said"), REFUSED)
def test_what_cannot_be_matched_is_refused(base, fields, variant, said):
    with pytest.raises(UserError, match=said):
        solved(base, Study(match="parameters", **fields), **variant)


def test_a_reference_stands_before_what_it_is_matched_with(base):
    both = {"other": replace(base, batch=16), "base": base}
    against = {"other": "base"}
    study = Study(match="flops")
    with pytest.raises(UserError, match="'base', which must stand before it"):
        matched(make_plan(both, Path("runs/tiny"), study, against))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"match": "params"}, "Did you mean 'parameters'"),
        ({"match_by": ("budget",)}, "match_by needs study.match"),
        ({"match": "parameters", "match_by": ("budget",)}, "changes no parameter"),
        ({"match": "time", "match_by": ("model.width",)}, "by the steps alone"),
        ({"match": "flops", "match_by": ("batch",)}, "give 'budget', or numbers of"),
    ],
)
def test_a_match_that_makes_no_sense_is_refused(fields, said):
    with pytest.raises(UserError, match=said):
        Study(**fields)
