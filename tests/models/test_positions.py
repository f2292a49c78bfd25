"""Biases of the scores: published slopes and buckets, and what they reach."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_jax.models import ALiBi, Encoder, Relative, Transformer
from lm_jax.models.positions import _slopes

HERE = jnp.arange(6)[None]


def test_slopes_are_the_papers():
    """Press et al. 2022: 1/2 ... 1/256 for 8 heads; 12 heads take 4 of 16's."""
    assert _slopes(8) == [2.0**-n for n in range(1, 9)]
    assert _slopes(16)[:4] == [2**-0.5, 2**-1, 2**-1.5, 2**-2]
    assert _slopes(12) == _slopes(8) + _slopes(16)[:8:2]


@pytest.mark.parametrize("heads", [1, 2, 3, 6, 20])
def test_there_is_one_falling_slope_a_head(heads):
    slopes = _slopes(heads)
    assert len(slopes) == heads == len(set(slopes)) and max(slopes) < 1


def test_alibi_falls_with_the_distance():
    bias = ALiBi().bias(HERE, HERE, 8, True)
    np.testing.assert_allclose(bias[0, 0, 5], -np.arange(5, -1, -1) / 2)
    np.testing.assert_allclose(bias[0, 7, 5], -np.arange(5, -1, -1) / 256, rtol=1e-6)


def bucket_of(back, buckets, farthest, causal):
    """T5's buckets for one distance (Raffel et al. 2020, 2.1), in plain Python."""
    ahead = 0
    if not causal:
        buckets //= 2
        ahead = buckets if back < 0 else 0
        back = abs(back)
    back = max(back, 0)
    exact = buckets // 2
    if back < exact:
        return ahead + back
    share = math.log(back / exact) / math.log(farthest / exact)
    return ahead + min(exact + int(share * (buckets - exact)), buckets - 1)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(back=st.integers(-300, 300), causal=st.booleans(), half=st.integers(2, 20))
def test_buckets_are_t5s(back, causal, half):
    # 97: no power of a ratio falls on a whole number, where float32 could differ.
    positions = Relative(2 * half, 97)
    found = int(positions.bucket(jnp.asarray(back), causal))
    assert found == bucket_of(back, 2 * half, 97, causal)


@pytest.mark.slow
def test_t5s_own_buckets_at_their_borders():
    """32 buckets to 128: exact to 15, then the values of T5's code."""
    buckets = Relative().bucket(jnp.asarray([0, 15, 16, 19, 127, 128, 5000]), True)
    assert buckets.tolist() == [0, 15, 16, 17, 31, 31, 31]
    both = Relative().bucket(jnp.asarray([-1, 1, 7, 8, -8]), False)
    assert both.tolist() == [17, 1, 7, 8, 24]


SIZES = {"layers": 1, "heads": 2, "width": 8, "vocab_size": 7}
TOKENS = jnp.asarray([[1, 2, 3, 4, 5, 6]])


@pytest.mark.slow
@pytest.mark.parametrize("positions", [ALiBi(), Relative(4, 6)])
def test_biases_see_only_distances(positions):
    """Shifted positions give the same logits; packed texts those of each alone."""
    model = Transformer(**SIZES, positions=positions)
    params = jax.jit(model.init)(jax.random.key(0), TOKENS)["params"]
    params = jax.tree.map(lambda p: p if (p == 1).all() else p * 20, params)

    @jax.jit
    def logits(tokens, **more):
        return model.apply({"params": params}, tokens, **more)[0]

    whole = logits(TOKENS)
    np.testing.assert_allclose(whole, logits(TOKENS, positions=HERE + 9), atol=1e-5)
    packed = logits(
        TOKENS,
        positions=jnp.asarray([[0, 1, 0, 1, 2, 3]]),
        segments=jnp.asarray([[1, 1, 2, 2, 2, 2]]),
    )
    np.testing.assert_allclose(packed[:, 2:], logits(TOKENS[:, 2:]), atol=1e-5)
    assert jnp.abs(whole[:, 3:] - packed[:, 3:]).max() > 1e-3


@pytest.mark.slow
def test_relative_biases_are_learnt_for_both_sides():
    model = Encoder(**SIZES, positions=Relative(4, 6), norm="rms")
    params = jax.jit(model.init)(jax.random.key(0), TOKENS)["params"]

    def loss(params):
        return jnp.square(model.apply({"params": params}, TOKENS)[0]).sum()

    params = jax.tree.map(lambda p: p if (p == 1).all() else p * 10, params)
    gradient = jax.jit(jax.grad(loss))(params)
    table = gradient["block_0"]["attention"]["relative"]["embedding"]
    assert table.shape == (4, 2)
    # Bucket 2 is distance 0 ahead of itself: nothing stands there.
    assert (jnp.abs(table[jnp.array([0, 1, 3])]) > 0).all() and (table[2] == 0).all()
