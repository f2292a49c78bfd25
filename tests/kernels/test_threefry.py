"""Numbers drawn in one kernel are those of jax.random, to the bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.kernels.threefry import bernoulli, block
from tests.properties import quick


@quick
@given(
    st.integers(0, 2**32 - 1),
    st.floats(0, 1, width=32),
    st.sampled_from([(), (1,), (7,), (9, 0), (3, 2, 5)]),  # each compiles
)
def test_what_is_drawn_is_what_jax_draws(seed, p, shape):
    key = jax.random.key(seed)
    np.testing.assert_array_equal(
        bernoulli(key, p, shape), jax.random.bernoulli(key, p, shape)
    )


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_keys_of_every_kind_draw_in_rows(impl):
    keys = jax.random.split(jax.random.key(3, impl=impl), 5)
    ours, theirs = (
        jax.jit(jax.vmap(lambda key, draw=draw: draw(key, 0.3, (4, 300))))(keys)
        for draw in (bernoulli, jax.random.bernoulli)
    )
    np.testing.assert_array_equal(ours, theirs)
    assert 0.25 < ours.mean() < 0.35


def test_the_rounds_are_those_of_the_paper():
    """Known answers that come with its reference program, Random123."""
    for key, counts, wanted in (
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ):
        words = (tuple(map(jnp.uint32, pair)) for pair in (key, counts))
        assert tuple(map(int, block(*words))) == wanted
