"""A turn is complex multiplication, in both forms, and its gradient turns back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.kernels import placement
from lm_jax.kernels.rotation import rotated


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
@pytest.mark.parametrize("pairs", [1, 3, 4])
def test_components_turn_in_pairs(monkeypatch, platform, pairs):
    """Component i with component i + pairs, by each token's angles; the rest stays."""
    monkeypatch.setattr(placement, "platform", lambda: platform)
    keys = jax.random.split(jax.random.key(pairs), 3)
    x = jax.random.normal(keys[0], (2, 3, 5, 8))
    angles = np.asarray(jax.random.normal(keys[1], (2, 1, 5, pairs)))
    toward = jax.random.normal(keys[2], x.shape)
    found, pull = jax.vjp(lambda x: rotated(x, jnp.cos(angles), jnp.sin(angles)), x)

    def turned(x, angles):
        a, b, rest = np.split(np.asarray(x), [pairs, 2 * pairs], axis=-1)
        turned = (a + 1j * b) * np.exp(1j * angles)
        return np.concatenate([turned.real, turned.imag, rest], -1)

    np.testing.assert_allclose(found, turned(x, angles), atol=1e-5)
    np.testing.assert_allclose(pull(toward)[0], turned(toward, -angles), atol=1e-5)


def test_both_forms_round_alike(monkeypatch):
    x = jax.random.normal(jax.random.key(0), (1, 2, 6, 8), jnp.bfloat16)
    angles = jnp.arange(24.0).reshape(1, 1, 6, 4)
    plain = rotated(x, jnp.cos(angles), jnp.sin(angles))
    monkeypatch.setattr(placement, "platform", lambda: "tpu")
    np.testing.assert_array_equal(rotated(x, jnp.cos(angles), jnp.sin(angles)), plain)


def test_without_a_mesh_the_form_is_that_of_what_it_is_compiled_for():
    x, wave = jnp.ones((1, 2, 6, 8)), jnp.ones((1, 1, 6, 4))
    traced = jax.jit(rotated).trace(x, wave, wave)

    def program(target):
        return traced.lower(lowering_platforms=(target,)).as_text()

    assert "dot_general" in program("tpu")
    assert "dot_general" not in program("cpu") + program("cuda")
