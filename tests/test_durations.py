import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.durations import Units, parse_duration, steps
from lm_jax.errors import UserError

UNITS = Units(tokens=1000, steps_per_epoch=12.5, flops=2e9)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2000 steps", 2000),
        ("1 step", 1),
        ("0 steps", 0),
        ("3 epochs", 38),
        ("0.08 epochs", 1),
        ("10M tokens", 10_000),
        ("40 tokens", 1),
        ("1.5k tokens", 2),
        ("1e12 flops", 500),
        ("2B tokens", 2_000_000),
    ],
)
def test_each_unit(text, expected):
    assert steps(text, UNITS) == expected


@pytest.mark.parametrize(
    "text", ["", "10", "ten steps", "5 minutes", "-1 steps", "10_001 tokens"]
)
def test_what_is_no_duration_is_named(text):
    with pytest.raises(UserError, match="'2000 steps'"):
        parse_duration(text)


@given(st.integers(1, 10**6), st.integers(1, 10**4))
def test_epochs_are_rounded_up_and_exact_multiples_are_not(count, per_epoch):
    units = Units(tokens=1, steps_per_epoch=float(per_epoch), flops=1.0)
    assert steps(f"{count} epochs", units) == count * per_epoch
    assert steps(f"{count}.5 epochs", units) == -(-(2 * count + 1) * per_epoch // 2)
