"""Norms are their published equations, for vectors of any size."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.models.norms import LayerNorm, NoNorm, RMSNorm, new_norm
from tests.properties import quick


def layer(x, epsilon):
    """Ba et al. 2016, eq. 3, the epsilon beside the variance."""
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon)


def rms(x, epsilon):
    """Zhang and Sennrich 2019, eq. 4, the epsilon beside the mean square."""
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon)


@pytest.mark.parametrize(("norm", "equation"), [(LayerNorm, layer), (RMSNorm, rms)])
@quick
@given(
    size=st.sampled_from([1e-5, 1e-3, 1.0, 1e3]),
    epsilon=st.sampled_from([1e-12, 1e-6, 1e-5, 1e-3]),
    seed=st.integers(0, 99),
)
def test_a_norm_is_its_equation_also_where_the_epsilon_tells(
    norm, equation, size, epsilon, seed
):
    rng = np.random.default_rng(seed)
    x = (size * (rng.normal(size=(3, 8)) + 0.5)).astype(np.float32)
    scale, bias = rng.normal(size=(2, 8)).astype(np.float32)
    params = {"scale": jnp.asarray(scale), "bias": jnp.asarray(bias)}
    made = norm(use_bias=True, epsilon=epsilon)
    found = made.apply({"params": params}, jnp.asarray(x))
    expected = equation(x.astype(np.float64), epsilon) * scale + bias
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(("kind", "usual"), [("layer", 1e-5), ("rms", 1e-6)])
def test_the_epsilon_is_the_one_asked_for(kind, usual):
    assert new_norm(kind, False, jnp.float32, None, None).epsilon == usual
    assert new_norm(kind, False, jnp.float32, 1e-3, None).epsilon == 1e-3
    assert isinstance(new_norm("none", False, jnp.float32, 1e-3, None), NoNorm)
