import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.durations import Units, in_steps, parse_duration, steps
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


@given(st.integers(1, 10**5), st.integers(1, 10**4))
def test_epochs_are_rounded_up_and_exact_multiples_are_not(count, per_epoch):
    units = Units(tokens=1, steps_per_epoch=float(per_epoch), flops=1.0)
    assert steps(f"{count} epochs", units) == count * per_epoch
    assert steps(f"{count}.5 epochs", units) == -(-(2 * count + 1) * per_epoch // 2)


@pytest.mark.parametrize(
    "text", ["1e10 steps", "1e999 steps", "2147483648 steps", "1e9 epochs", "3T tokens"]
)
def test_more_steps_than_are_counted_are_refused(text):
    with pytest.raises(UserError, match=f"budget: '{text}' .* 2,147,483,647 at most"):
        steps(text, UNITS, "budget")
    assert steps("2147483647 steps", UNITS) == 2**31 - 1


def test_a_little_is_a_step_and_nothing_is_refused_where_it_must_be_more():
    assert steps("1e-9 epochs", UNITS) == steps("1 flops", UNITS) == 1
    with pytest.raises(UserError, match="every: '0.0 tokens' is nothing"):
        parse_duration("0.0 tokens", "every", positive=True)


def test_a_number_of_steps_is_one_or_several():
    assert [in_steps(n) for n in (0, 1, 2000)] == ["0 steps", "1 step", "2,000 steps"]
