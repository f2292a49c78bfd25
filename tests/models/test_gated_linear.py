"""The chunked recurrence is the recurrence; padding leaves no trace in it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_jax.models import GatedLinear, NoPositions, Transformer
from lm_jax.models.gated_linear import fresh_tokens, recurrence

HEADS, DIM = 2, 3


def draws(time, seed=0):
    random = np.random.default_rng(seed)
    shape = (2, HEADS, time, DIM)
    query, key, value = (random.normal(size=shape).astype("f") for _ in range(3))
    log_decay = -random.exponential(size=shape[:3]).astype("f")
    state = random.normal(size=(2, HEADS, DIM, DIM)).astype("f")
    fresh = random.random((2, time)) < 0.3
    return query, key, value, log_decay, fresh, state


def step_by_step(query, key, value, log_decay, fresh, state):
    """S_t = a_t S_{t-1} + k_t v_t^T and y_t = q_t S_t, word for word."""
    mixed = np.zeros_like(value)
    for t in range(query.shape[2]):
        kept = np.exp(log_decay[:, :, t]) * ~fresh[:, None, t]
        written = key[:, :, t, :, None] * value[:, :, t, None, :]
        state = state * kept[..., None, None] + written
        mixed[:, :, t] = np.einsum("bhd,bhde->bhe", query[:, :, t], state)
    return mixed, state


@pytest.mark.slow
@settings(max_examples=10)
@given(time=st.integers(1, 9), chunk=st.integers(1, 10), seed=st.integers(0, 99))
def test_chunks_equal_step_by_step(time, chunk, seed):
    arrays = draws(time, seed)
    run = jax.jit(recurrence, static_argnums=6)
    found = run(*map(jnp.asarray, arrays), chunk)
    for one, other in zip(found, step_by_step(*arrays), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_fast_decays_overflow_nothing():
    query, key, value, _, fresh, state = map(jnp.asarray, draws(8))

    def loss(log_decay):
        mixed, _ = recurrence(query, key, value, log_decay, fresh, state, 8)
        return jnp.square(mixed).sum()

    value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.full((2, HEADS, 8), -100.0))
    assert jnp.isfinite(value) and jnp.isfinite(gradient).all()


def test_a_new_segment_is_fresh_and_padding_is_none():
    segments = jnp.asarray([[0, 1, 1, 0, 1, 2, 0, 0, 3], [4, 0, 4, 3, 3, 0, 4, 4, 0]])
    assert fresh_tokens(segments).astype(int).tolist() == [
        [0, 0, 0, 0, 0, 1, 0, 0, 1],
        [0, 0, 0, 1, 0, 0, 1, 0, 0],
    ]


MODEL = Transformer(
    layers=2,
    heads=2,
    width=8,
    vocab_size=11,
    mixer=GatedLinear(chunk=4),
    positions=NoPositions(),
)
TOKENS = jax.random.randint(jax.random.key(0), (1, 10), 0, 11)


@pytest.fixture(scope="module")
def read():
    params = jax.jit(MODEL.init)(jax.random.key(1), TOKENS)["params"]
    params = jax.tree.map(lambda p: p if (p == 1).all() else p * 8, params)
    return jax.jit(
        lambda tokens, **more: MODEL.apply({"params": params}, tokens, **more)
    )


def test_padding_leaves_no_trace(read):
    """Wherever it stands, the tokens after it and the state are as without it."""
    real = jnp.asarray([[0, 1, 1, 0, 0, 1, 1, 1, 0, 1]])
    (columns,) = np.nonzero(np.asarray(real[0]))
    empty = MODEL.empty_cache(1, 0)
    padded, state = read(TOKENS, segments=real, cache=empty)
    alone, expected = read(TOKENS[:, columns], cache=empty)
    np.testing.assert_allclose(padded[:, columns], alone, atol=1e-5)
    close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5)  # noqa: E731
    jax.tree.map(close, state, expected)
    assert jnp.abs(read(TOKENS)[0][:, columns] - alone).max() > 1e-2


def test_segments_do_not_see_each_other(read):
    segments = jnp.asarray([[1, 1, 1, 1, 1, 1, 2, 2, 2, 0]])
    packed, _ = read(TOKENS, segments=segments)
    np.testing.assert_allclose(packed[:, :6], read(TOKENS[:, :6])[0], atol=1e-5)
    np.testing.assert_allclose(packed[:, 6:9], read(TOKENS[:, 6:9])[0], atol=1e-5)


def test_the_slowest_head_remembers_long_and_the_fastest_one_token():
    rates = GatedLinear(longest=64.0)._first_rates(jax.random.key(0), (3,))
    np.testing.assert_allclose(1 / jax.nn.softplus(rates), [1, 8, 64], rtol=1e-4)
