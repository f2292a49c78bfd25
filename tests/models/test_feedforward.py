"""Activations by their definitions, and hidden widths of checkpoints."""

import math

import jax.numpy as jnp
import numpy as np

from lm_jax.bounds import all_problems
from lm_jax.models import MLP, Gated, MoE, Transformer
from lm_jax.models.feedforward import activate


def test_gelu_by_the_error_function_and_by_tanh():
    """Hendrycks and Gimpel 2016, 2: x Phi(x), and the approximation of it."""
    x = np.linspace(-4, 4, 33, dtype=np.float32)
    exact = [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x]
    bent = [v * 0.5 * (1 + math.tanh(0.7978845608 * (v + 0.044715 * v**3))) for v in x]
    np.testing.assert_allclose(activate("gelu_exact", jnp.asarray(x)), exact, atol=1e-6)
    np.testing.assert_allclose(activate("gelu", jnp.asarray(x)), bent, atol=1e-6)
    assert np.abs(np.subtract(exact, bent)).max() > 1e-4


def test_a_ratio_gives_its_hidden_width_however_it_rounds():
    for hidden in (232, 464, 488, 920, 928, 4864):
        assert Gated(hidden / 896).hidden(896) == hidden
        assert MLP(hidden / 896).hidden(896) == hidden
        assert MoE(ratio=hidden / 896).hidden(896) == hidden


def test_a_few_digits_of_a_ratio_do():
    """8/3 and its like, typed: the width that was meant, not the one above or below."""
    for digits in (2.667, 2.66667, 2.6666667, 2.6666666):
        for width in (24, 48, 96):
            wanted = 8 * width // 3
            assert Gated(digits).hidden(width) == wanted
            assert (
                MLP(digits).hidden(width) == MoE(ratio=digits).hidden(width) == wanted
            )
    assert Gated().hidden(64) == 176


def test_a_ratio_without_end_is_refused():
    for ratio in (math.inf, math.nan, 1e300, 0.0, -1.0, 0.001):
        for kind in (MLP, Gated):
            model = Transformer(heads=2, width=16, feedforward=kind(ratio=ratio))
            assert any(
                "model.feedforward.ratio" in p for p in all_problems(model, "model")
            )
