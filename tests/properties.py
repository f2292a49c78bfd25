"""How properties are tested: hypothesis's settings."""

from hypothesis import HealthCheck, settings

# A busy machine is no failure.
quick = settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
