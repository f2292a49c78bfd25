"""A step of a cell is its published equations, the gates in PyTorch's order."""

import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.models import GRU, LSTM, Elman
from lm_jax.models.convolutional import GatedLinearUnit

WIDTH = 3


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def drawn(gates, states):
    rng = np.random.default_rng(0)
    inputs, recurrent = rng.normal(size=(2, 4, gates * WIDTH)).astype(np.float32)
    return inputs, recurrent, list(rng.normal(size=(states, 4, WIDTH)).astype("f4"))


def stepped(cell, inputs, recurrent, state):
    arrays = (jnp.asarray(inputs), jnp.asarray(recurrent))
    return cell.step(*arrays, tuple(map(jnp.asarray, state)))


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_elman(activation):
    inputs, recurrent, state = drawn(1, 1)
    bend = np.tanh if activation == "tanh" else lambda x: np.maximum(x, 0)
    (found,) = stepped(Elman(activation), inputs, recurrent, state)
    np.testing.assert_allclose(found, bend(inputs + recurrent), rtol=1e-5)


def test_lstm():
    """Gers et al. 2000: input, forget, candidate, output."""
    inputs, recurrent, (hidden, cell) = drawn(4, 2)
    i, f, g, o = np.split(inputs + recurrent, 4, axis=-1)
    new = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
    found = stepped(LSTM(), inputs, recurrent, (hidden, cell))
    np.testing.assert_allclose(found[0], sigmoid(o) * np.tanh(new), rtol=1e-4)
    np.testing.assert_allclose(found[1], new, rtol=1e-4)


def test_gru():
    """Cho et al. 2014: reset, update, candidate; reset after the product."""
    inputs, recurrent, (hidden,) = drawn(3, 1)
    (r, z, n), (r2, z2, n2) = (np.split(x, 3, axis=-1) for x in (inputs, recurrent))
    update = sigmoid(z + z2)
    candidate = np.tanh(n + sigmoid(r + r2) * n2)
    (found,) = stepped(GRU(), inputs, recurrent, (hidden,))
    expected = (1 - update) * candidate + update * hidden
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_a_gated_linear_unit():
    """Dauphin et al. 2017, eq. 1: (X W + b) times the sigmoid of (X V + c)."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 4)).astype("f4")
    params = {
        name: {"kernel": rng.normal(size=(4, 5)).astype("f4"), "bias": np.ones(5, "f4")}
        for name in ("value", "gate")
    }
    unit = GatedLinearUnit(4, 5, 1.0, jnp.float32)
    found = unit.apply({"params": params}, jnp.asarray(x))
    value, gate = (x @ p["kernel"] + p["bias"] for p in params.values())
    np.testing.assert_allclose(found, value * sigmoid(gate), rtol=1e-4, atol=1e-5)
