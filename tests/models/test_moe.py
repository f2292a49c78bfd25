"""Experts are chosen by token, and kept equally busy."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.models import MoE, NoPositions, Transformer
from lm_jax.models.block import Block
from lm_jax.models.config import BlockConfig
from lm_jax.models.dropout import example_keys
from lm_jax.models.moe import chosen, imbalance
from lm_jax.models.patterns import causally_shared
from lm_jax.models.stack import stack_blocks
from tests.properties import slow_but

WIDTH = 8
WEIGHED = {"shared": 1, "shared_router": True, "normalised": False}


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("gated", slow_but([False, True], True))
@pytest.mark.parametrize(
    "more", slow_but([{}, {"normalised": False}, {"shared": 2}, WEIGHED], {})
)
def test_each_token_is_served_by_its_experts_alone(k, gated, more):
    """Against a loop over tokens and their k likeliest experts, and shared ones."""
    choice = MoE(experts=4, k=k, ratio=1.5, gated=gated, activation="relu", **more)
    config = BlockConfig(1, 1, WIDTH, positions=NoPositions(), feedforward=choice)
    block = Block(replace(config, norm="none", use_bias=True))
    x = jax.random.normal(jax.random.key(0), (2, 5, WIDTH))
    shared = causally_shared(5, None, None, None)
    params = jax.jit(lambda x: block.init(jax.random.key(1), x, 0, None, shared))(x)[
        "params"
    ]
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(2), len(leaves))
    leaves = [jax.random.normal(q, p.shape) for q, p in zip(keys, leaves, strict=True)]
    params = jax.tree.unflatten(tree, leaves)
    params["attention"]["output"] = jax.tree.map(
        jnp.zeros_like, params["attention"]["output"]
    )
    found = (
        jax.jit(lambda p: block.apply({"params": p}, x, 0, None, shared)[0])(params) - x
    )

    params = jax.tree.map(np.asarray, params)

    def layer(name, row, expert=()):
        own = params[name]
        return row @ own["kernel"][expert] + own["bias"][expert]

    def bent(row, prefix="", expert=()):
        hidden = layer(f"{prefix}up", row, expert)
        if not gated:
            return np.maximum(hidden, 0)
        return hidden * np.maximum(layer(f"{prefix}gate", row, expert), 0)

    rows = zip(*(np.asarray(a).reshape(-1, WIDTH) for a in (found, x)), strict=True)
    for found_row, row in rows:
        scores = row @ params["router"]["kernel"] + params["router"]["bias"]
        chances = np.exp(scores) / np.exp(scores).sum()
        best = np.argsort(-chances)[:k]
        whole = k == 1 or not choice.normalised
        weights = chances[best] if whole else chances[best] / chances[best].sum()
        expected = np.zeros(WIDTH)
        for expert, weight in zip(best, weights, strict=True):
            expected += weight * layer("down", bent(row, "", expert), expert)
        if choice.shared:
            share = 1.0
            if choice.shared_router:
                share = 1 / (1 + np.exp(-layer("shared_router", row)))
            expected += share * layer("shared_down", bent(row, "shared_"))
        np.testing.assert_allclose(found_row, expected, rtol=1e-3, atol=1e-3)


def test_weights_are_of_k_experts():
    chances = jax.nn.softmax(jax.random.normal(jax.random.key(0), (2, 7, 6)))
    for k in (1, 3, 6):
        weights = chosen(chances, k)
        assert ((weights > 0).sum(-1) == k).all()
        total = weights.sum(-1)
        np.testing.assert_allclose(total, chances.max(-1) if k == 1 else 1, rtol=1e-5)


def test_imbalance_is_one_at_best_and_grows():
    """Fedus et al. 2022, 2.2: experts times the sum of share times chance."""
    even, real = jnp.full((1, 4, 4), 0.25), jnp.ones((1, 4))
    turns = jnp.eye(4)[None] > 0
    np.testing.assert_allclose(imbalance(even, turns, 1, real), [1.0])
    one = jnp.zeros((1, 4, 4)).at[..., 0].set(1.0)
    np.testing.assert_allclose(imbalance(one, one > 0, 1, real), [4.0])


MODEL = Transformer(
    layers=2,
    heads=2,
    width=WIDTH,
    vocab_size=11,
    positions=NoPositions(),
    feedforward=MoE(experts=4, k=2, ratio=1.0, balance=0.1),
)


def test_the_penalty_belongs_to_the_row_and_to_training():
    tokens = jax.random.randint(jax.random.key(0), (3, 6), 0, 11)
    noise = example_keys(jax.random.key(1), jnp.arange(3))
    params = jax.jit(MODEL.init)(jax.random.key(2), tokens)["params"]

    def penalties(model, params, tokens, noise, segments=None):
        run = jax.jit(model.apply, static_argnames="mutable")
        _, sown = run(
            {"params": params},
            tokens,
            segments=segments,
            dropout_keys=noise,
            mutable=() if noise is None else ("penalties",),
        )
        leaves = jax.tree.leaves(sown)
        return [leaf.reshape(-1, leaf.shape[-1]).sum(0) for leaf in leaves]

    whole = penalties(MODEL, params, tokens, noise)
    assert len(whole) == 2 and {leaf.shape for leaf in whole} == {(3,)}
    # At the start the experts are about equally busy: 1, times its weight.
    np.testing.assert_allclose(whole, 0.1, rtol=0.1)
    # Padding keeps no expert busy.
    row, real = (jnp.pad(x, ((0, 0), (0, 5))) for x in (tokens[1:2], jnp.ones((1, 6))))
    alone = penalties(MODEL, params, row, noise[1:2], real.astype(jnp.int32))
    np.testing.assert_allclose(sum(alone), sum(whole)[1:2], rtol=1e-5)
    assert penalties(MODEL, params, tokens, None) == []

    scanned = penalties(MODEL.clone(scan=True), stack_blocks(params), tokens, noise)
    np.testing.assert_allclose(sum(scanned), sum(whole), rtol=1e-5)


def test_only_the_experts_that_serve_are_counted():
    few, many = MODEL, MODEL.clone(feedforward=MoE(experts=64, k=2, ratio=1.0))
    routers = 6 * MODEL.layers * WIDTH * 60
    assert many.flops_per_token(8) - few.flops_per_token(8) == routers
    own = MoE(experts=4, k=2, ratio=1.0, shared=3, shared_router=True)
    shared = 6 * MODEL.layers * WIDTH * (2 * 3 * WIDTH + 1)
    with_them = MODEL.clone(feedforward=own)
    assert with_them.flops_per_token(8) - few.flops_per_token(8) == shared
