"""How properties are tested: hypothesis's settings, and what is left to the suite."""

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no failure.
quick = settings(
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def slow_but(values, *few):
    """Parameters of a test, of which a few are tried without `test --all`."""
    return [
        value if value in few else pytest.param(value, marks=pytest.mark.slow)
        for value in values
    ]
