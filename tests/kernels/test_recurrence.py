"""A cell over a segment is its steps one after the other, with their gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.kernels.recurrence import run_cell
from lm_jax.models import GRU, LSTM, Elman
from tests.properties import slow_but

CELLS = (Elman(), Elman("relu"), LSTM(), GRU())


@pytest.mark.parametrize("cell", slow_but(CELLS, LSTM()), ids=str)
def test_the_written_gradient_is_the_plain_scans(cell):
    time, batch, width = 5, 3, 4
    keys = jax.random.split(jax.random.key(0), 8)
    gates = cell.gates * width
    kernel = jax.random.normal(keys[0], (width, gates))
    bias = None if cell.additive else jax.random.normal(keys[1], (gates,))
    inputs = jax.random.normal(keys[2], (time, batch, gates))
    state = tuple(jax.random.normal(k, (batch, width)) for k in keys[3:5])
    state = state[: len(cell.states)]
    kept = jax.random.bernoulli(keys[5], 0.7, (time, batch, 1)).astype(float)
    read = jax.random.bernoulli(keys[6], 0.7, (time, batch, 1)).astype(float)
    toward = jax.random.normal(keys[7], (time, batch, width))

    def plain(kernel, bias, inputs, state):
        hidden = []
        for now in range(time):
            state = tuple(part * kept[now] for part in state)
            product = state[0] @ kernel + (0.0 if bias is None else bias)
            new = cell.step(inputs[now], product, state)
            state = tuple(
                jnp.where(read[now] > 0, n, o) for n, o in zip(new, state, strict=True)
            )
            hidden.append(state[0])
        return (jnp.stack(hidden) * toward).sum() + (state[-1] ** 2).sum()

    def scanned(kernel, bias, inputs, state):
        hidden, last = run_cell(cell, kernel, bias, inputs, state, kept, read)
        return (hidden * toward).sum() + (last[-1] ** 2).sum()

    wanted = jax.value_and_grad(plain, (0, 2, 3))(kernel, bias, inputs, state)
    found = jax.value_and_grad(scanned, (0, 2, 3))(kernel, bias, inputs, state)
    for w, f in zip(jax.tree.leaves(wanted), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(f, w, rtol=2e-4, atol=2e-5)
    if bias is not None:
        w, f = (jax.grad(g, 1)(kernel, bias, inputs, state) for g in (plain, scanned))
        np.testing.assert_allclose(f, w, rtol=2e-4, atol=2e-5)
