"""Which tokens a token sees, by the gradients of whole models."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.models import (
    Alternating,
    BlockLocal,
    Encoder,
    Full,
    NoPositions,
    SlidingWindow,
    Transformer,
)
from lm_jax.models.block import Block
from lm_jax.models.config import BlockConfig
from lm_jax.models.patterns import causally_shared, shared_from_both_sides
from tests.properties import slow_but

TIME = 9


def reach(pattern, index=0, causal=True):
    """Which inputs of a block (columns) move which outputs (rows)."""
    config = BlockConfig(1, 2, 4, positions=NoPositions(), attention=pattern)
    block = Block(replace(config, causal=causal))
    look = causally_shared if causal else shared_from_both_sides
    shared = look(TIME, None, None, None)
    x = jax.random.normal(jax.random.key(0), (1, TIME, 4))
    params = jax.jit(lambda x: block.init(jax.random.key(1), x, 0, None, shared))(x)
    params = jax.tree.map(lambda p: p if (p == 1).all() else p * 20, params)

    def run(x, index):
        return block.apply(params, x, index, None, shared)[0][0]

    known = isinstance(index, int)
    jacobian = jax.jit(jax.jacobian(run), static_argnums=1 if known else ())(x, index)
    return np.abs(jacobian).max((1, 2, 4)) > 0


BACK = np.arange(TIME)[:, None] - np.arange(TIME)


@pytest.mark.parametrize("window", [1, 3, 20])
def test_a_window_holds_the_last_tokens(window):
    expected = (BACK >= 0) & (window > BACK)
    assert (reach(SlidingWindow(window)) == expected).all()


def test_an_encoders_window_has_two_sides():
    found = reach(SlidingWindow(3), causal=False)
    assert (found == (np.abs(BACK) < 3)).all()
    assert reach(Full(), causal=False).all()


def test_blocks_are_apart_and_begin_later_in_every_second_layer():
    places = np.arange(TIME)
    for layer, later in enumerate([0, 2, 0]):
        block = (places + later) // 4
        expected = (BACK >= 0) & (block[:, None] == block)
        assert (reach(BlockLocal(4), layer) == expected).all()


@pytest.mark.parametrize("traced", slow_but([False, True], True))
def test_every_nth_layer_sees_all(traced):
    pattern = Alternating(window=3, every=3)
    for layer, full in enumerate([False, False, True, False]):
        index = jnp.asarray(layer) if traced else layer
        expected = (BACK >= 0) & ((BACK < 3) | full)
        assert (reach(pattern, index) == expected).all()


def test_only_a_known_layer_tells_its_reach():
    pattern = Alternating(window=3, every=2)
    assert [pattern.reach(i) for i in range(3)] == [3, None, 3]
    assert pattern.reach(jnp.asarray(0)) is None
    assert (Full().reach(0), SlidingWindow(5).reach(0)) == (None, 5)


def test_averages_count_what_is_seen():
    for context in (4, 50):
        for window in (1, 7, 100):
            seen = np.minimum(np.arange(1, context + 1), window).mean()
            average = SlidingWindow(window).average(context, 2)
            assert abs(average - seen) <= 0.5
    full, local = Full().average(50, 4), SlidingWindow(7).average(50, 4)
    assert Alternating(7, 2).average(50, 4) == (full + local) / 2
    assert Alternating(7, 3).average(50, 4) == (full + 3 * local) / 4


def test_a_window_makes_a_step_cheaper():
    sizes = {"layers": 2, "heads": 2, "width": 8, "vocab_size": 5}
    model = Transformer(**sizes, positions=NoPositions())
    cheap = model.clone(attention=SlidingWindow(16))
    assert cheap.flops_per_token(512) < model.flops_per_token(512)
    encoder = Encoder(**sizes).flops_per_token
    # Two products of the width with as many tokens more, and the head's kernel.
    longer = 6 * 2 * 8 * 2 * (1024 - 512)
    assert encoder(1024) - encoder(512) == longer
    assert model.flops_per_token(1024) - model.flops_per_token(512) == longer / 2
