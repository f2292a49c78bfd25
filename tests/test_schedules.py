import math
import re
from dataclasses import replace
from typing import get_args

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_jax.durations import Units
from lm_jax.errors import UserError
from lm_jax.experiment import load
from lm_jax.schedules import (
    Constant,
    InverseSquareRoot,
    ReduceOnPlateau,
    Schedule,
    StepDecay,
    WarmupCosine,
    WarmupLinear,
    WarmupStableDecay,
)
from tests.experiment import ROOT
from tests.properties import quick

UNITS = Units(tokens=10, steps_per_epoch=20.0, flops=1.0)


def rates(schedule, total=100):
    curve = schedule.curve(total, UNITS)
    return np.asarray([float(curve(step)) for step in range(total + 1)])


def lengths(kind):
    """What a schedule of this kind needs, to fit into a hundred steps."""
    own = {
        WarmupStableDecay: {"decay": "20 steps"},
        StepDecay: {"factor": 0.25, "after": "40 steps", "every": "15 steps"},
    }
    return {"warmup": "10 steps"} | own.get(kind, {})


def has_final(kind):
    return "final" in kind.__dataclass_fields__


@pytest.mark.parametrize("kind", get_args(Schedule))
@quick
@given(peak=st.floats(1e-6, 30.0), share=st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_rates_grow_with_the_peak_and_nothing_else_changes(kind, peak, share):
    """Of a schedule with a last rate, that one grows with it."""
    curves = []
    for top in (1.0, peak):
        last = {"final": share * top} if has_final(kind) else {}
        curves.append(kind(peak=top, **lengths(kind), **last).curve(100, UNITS))
    steps = np.asarray([0, 3, 9, 10, 11, 39, 40, 54, 55, 79, 80, 81, 95, 99])
    one, other = (np.asarray(curve(steps)) for curve in curves)
    np.testing.assert_allclose(other, peak * one, rtol=1e-5)
    assert other.max() <= peak * (1 + 1e-6)


@pytest.mark.parametrize("kind", [*filter(has_final, get_args(Schedule))])
@quick
@given(peak=st.floats(1e-5, 10.0), share=st.floats(0.0, 1.0))
def test_the_last_rate_is_the_one_asked_for_at_any_peak(kind, peak, share):
    schedule = kind(peak=peak, final=share * peak, **lengths(kind))
    found = float(schedule.curve(100, UNITS)(100))
    assert found == pytest.approx(share * peak, rel=1e-4, abs=1e-6 * peak)


def test_steps_of_a_staircase_begin_when_they_are_said_to():
    """Zaremba et al. 2014, 4.1: as it is for so long, then lower every epoch."""
    found = rates(StepDecay(peak=3e-4, factor=0.5, after="2 epochs", every="1 epoch"))
    expected = 3e-4 * np.repeat([1, 1, 0.5, 0.25, 0.125], 20)
    np.testing.assert_allclose(found[:100], expected, rtol=1e-6)
    other = rates(StepDecay(peak=2.0, factor=0.1, after="7 steps", every="3 steps"))
    np.testing.assert_allclose(
        other[[0, 6, 7, 9, 10, 12, 13]],
        [2, 2, *[0.2] * 2, *[0.02] * 2, 0.002],
        rtol=1e-5,
    )


def test_cosine_is_nanogpts():
    """The learning rate that nanoGPT's train.py gives at each iteration."""

    def reference(step, peak=1e-3, low=1e-4, warmup=10, total=100):
        if step < warmup:
            return peak * (step + 1) / (warmup + 1)
        share = (step - warmup) / (total - warmup)
        return low + 0.5 * (1 + math.cos(math.pi * share)) * (peak - low)

    ours = rates(WarmupCosine(peak=1e-3, warmup="10 steps", final=1e-4))
    np.testing.assert_allclose(ours, [reference(s) for s in range(101)], rtol=1e-4)


def test_linear_and_stable_end_at_final():
    linear = rates(WarmupLinear(peak=1.0, warmup="0 steps", final=0.2))
    np.testing.assert_allclose(linear, 1 - 0.8 * np.arange(101) / 100, rtol=1e-5)
    stable = rates(
        WarmupStableDecay(peak=1.0, warmup="9 steps", decay="1 epoch", final=0.1)
    )
    np.testing.assert_allclose(stable[:9], np.arange(1, 10) / 10, rtol=1e-5)
    np.testing.assert_allclose(stable[9:81], 1.0)
    assert stable[90] == pytest.approx(0.55)
    assert stable[100] == pytest.approx(0.1)


@pytest.mark.parametrize("warmup", [0, 1, 2, 10, 16])
def test_inverse_square_root_is_vaswanis(warmup):
    """Eq. 3 of the paper, whose step counts from 1, times what makes the peak 2."""
    ours = rates(InverseSquareRoot(peak=2.0, warmup=f"{warmup} steps"))
    step, w = np.arange(1, 102), max(1, warmup)
    paper = np.minimum(step**-0.5, step * w**-1.5)
    np.testing.assert_allclose(ours, 2.0 * paper / w**-0.5, rtol=1e-6)
    assert ours.max() == ours[w - 1] == 2.0


def test_constant_and_durations_in_tokens():
    ours = rates(Constant(peak=3.0, warmup="40 tokens"))
    np.testing.assert_allclose(ours[:4], 3 * np.arange(1, 5) / 5, rtol=1e-6)
    np.testing.assert_allclose(ours[4:], 3.0)


def test_wsd_of_another_peak_ends_at_final_itself():
    stable = WarmupStableDecay(peak=4.0, warmup="9 steps", decay="20 steps", final=1.0)
    assert rates(stable)[[9, 80, 90, 100]] == pytest.approx([4.0, 4.0, 2.5, 1.0])
    cosine = rates(WarmupCosine(peak=4.0, warmup="9 steps", final=1.0))
    assert cosine[[9, 100]] == pytest.approx([4.0, 1.0])


def test_step_decay_waits_and_then_cuts_each_time():
    schedule = StepDecay(peak=3.0, factor=0.5, after="2 epochs", every="10 steps")
    expected = 3.0 * 0.5 ** np.maximum(0, (np.arange(101) - 40) // 10 + 1)
    np.testing.assert_allclose(rates(schedule), expected)


LOSSES = [3.0, 2.0, 1.95, 1.0, 1.0, 1.0, 1.1, 1.0, 1.2, 1.0, 0.5, 0.6, 0.7]
# What torch.optim.lr_scheduler.ReduceLROnPlateau(mode="min", factor=0.5,
# threshold=0.1, threshold_mode="abs") gives after each of them, by patience.
TORCH = {
    0: [1, 1, 0.5, 0.5, 0.25, 2**-3, 2**-4, 2**-5, 2**-6, 2**-7, 2**-7, 2**-8, 2**-9],
    1: [1, 1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.125, 2**-4],
    2: [1, 1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25],
    10: [1] * 13,
}


@pytest.mark.parametrize("patience", TORCH)
def test_plateaus_patience_is_torchs(patience):
    schedule = ReduceOnPlateau(1.0, factor=0.5, patience=patience, threshold=0.1)
    scales = [schedule.scale(LOSSES[: n + 1]) for n in range(len(LOSSES))]
    assert scales == TORCH[patience]
    assert schedule.scale([]) == Constant(peak=1.0).scale(LOSSES) == 1.0


@given(st.lists(st.floats(0.0, 9.0), max_size=40), st.integers(0, 4))
def test_plateau_is_torchs(losses, patience):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        factor=0.5,
        patience=patience,
        threshold=0.1,
        threshold_mode="abs",
        eps=0,
    )
    for loss in losses:
        theirs.step(loss)
    ours = ReduceOnPlateau(1.0, factor=0.5, patience=patience, threshold=0.1)
    assert ours.scale(losses) == theirs.get_last_lr()[0]


def test_the_recipe_that_cuts_at_every_plateau_still_does():
    """As pytorch/examples' main.py does, whose figure it is compared with."""
    schedule = load(str(ROOT / "experiments/lstm_ptb.py")).experiment.schedule
    scales = [schedule.scale([2.0, *later]) for later in ([1.9], [2.0], [2.0] * 2)]
    assert scales == [1.0, 0.25, 0.0625]


NEVER = {
    "a warmup as long as the budget": WarmupCosine(1.0, warmup="100 steps"),
    "a longer one": Constant(1.0, warmup="101 steps"),
    "in epochs": WarmupLinear(1.0, warmup="6 epochs"),
    "in tokens": Constant(1.0, warmup="1000 tokens"),
    "with the decay": WarmupStableDecay(1.0, warmup="1 epoch", decay="900 tokens"),
    "a decay alone": WarmupStableDecay(1.0, decay="101 steps"),
    "an inverse root": InverseSquareRoot(1.0, warmup="101 steps"),
    "a plateau": ReduceOnPlateau(1.0, warmup="1000 flops"),
}


@pytest.mark.parametrize("schedule", NEVER.values(), ids=NEVER)
def test_a_peak_that_is_never_reached_is_refused(schedule):
    with pytest.raises(UserError, match=r"takes? the whole budget \(100 s") as refused:
        schedule.curve(100, UNITS)
    # What is to be typed mends it.
    flags = re.findall(r'--schedule\.(\w+) "([^"]+)"', str(refused.value))
    assert replace(schedule, **dict(flags)).curve(100, UNITS)(50) > 0
    assert rates(schedule, 2000).max() == 1.0


@pytest.mark.slow
@settings(max_examples=30)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 50))
def test_what_is_not_refused_reaches_its_peak(warmup, decay, total):
    schedules = [
        WarmupStableDecay(3.0, warmup=f"{warmup} steps", decay=f"{decay} steps"),
        InverseSquareRoot(3.0, warmup=f"{warmup} steps"),
        WarmupCosine(3.0, warmup=f"{warmup} steps"),
    ]
    for schedule in schedules:
        try:
            curve = schedule.curve(total, UNITS)
        except UserError:
            continue
        assert float(jnp.max(curve(jnp.arange(total)))) == pytest.approx(3.0)


def test_a_budget_of_nothing_needs_no_peak():
    WarmupCosine(1.0, warmup="9 steps").curve(0, UNITS)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Constant(1.0, warmup="soon"), "schedule.warmup: 'soon'"),
        (lambda: WarmupCosine(1e-3, final=1e-2), "above schedule.peak=0.001"),
        (lambda: StepDecay(1.0, every="0 epochs"), "schedule.every: '0 epochs' is no"),
        (lambda: WarmupStableDecay(1.0, decay="9"), "schedule.decay: '9'"),
    ],
)
def test_what_is_no_schedule_is_refused(make, said):
    with pytest.raises(UserError, match=said):
        make()


def test_losses_that_creep_are_no_better():
    """Each is lower than the last, and none by the threshold than the best."""
    creeping = [1.0, 0.95, 0.9, 0.85, 0.8, 0.75]
    schedule = ReduceOnPlateau(peak=1.0, factor=0.5, patience=2, threshold=0.3)
    assert schedule.scale(creeping) < 1
    assert schedule.scale([loss - 0.31 * k for k, loss in enumerate(creeping)]) == 1
    assert ReduceOnPlateau(peak=1.0, patience=2, threshold=0.0).scale(creeping) == 1
