import math

import numpy as np
import pytest

from lm_jax.durations import Units
from lm_jax.schedules import (
    Constant,
    InverseSquareRoot,
    ReduceOnPlateau,
    WarmupCosine,
    WarmupLinear,
    WarmupStableDecay,
)

UNITS = Units(tokens=10, steps_per_epoch=20.0, flops=1.0)


def rates(schedule, total=100):
    curve = schedule.curve(total, UNITS)
    return np.asarray([float(curve(step)) for step in range(total + 1)])


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


def test_inverse_square_root():
    ours = rates(InverseSquareRoot(peak=2.0, warmup="16 steps"))
    assert ours[63] == pytest.approx(1.0)
    assert ours.argmax() in (15, 16)
    assert (np.diff(ours[17:]) < 0).all()


def test_constant_and_durations_in_tokens():
    ours = rates(Constant(peak=3.0, warmup="40 tokens"))
    np.testing.assert_allclose(ours[:4], 3 * np.arange(1, 5) / 5, rtol=1e-6)
    np.testing.assert_allclose(ours[4:], 3.0)


def test_plateau_cuts_after_each_patience_in_vain():
    schedule = ReduceOnPlateau(peak=1.0, factor=0.5, patience=2, threshold=0.1)
    losses = [3.0, 2.0, 1.95, 1.0, 1.0, 1.0, 1.1, 1.0, 0.5]
    scales = [schedule.scale(losses[:n]) for n in range(len(losses) + 1)]
    assert scales == [1, 1, 1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25]
    assert Constant(peak=1.0).scale(losses) == 1.0
