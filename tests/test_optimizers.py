from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lm_jax.errors import UserError
from lm_jax.models import Learned, Transformer
from lm_jax.models.stack import initialise, stack_blocks
from lm_jax.optimizers import SGD, Adafactor, AdamW, Lion, Muon, transformation

ALL = [SGD(), AdamW(), Adafactor(), Lion(), Muon()]
PARAMS = {
    "block_0": {"kernel": jnp.arange(12.0).reshape(3, 4) / 10, "scale": jnp.ones(3)},
    "embedding": -jnp.ones((5, 3)),
}


def gradients(step=0):
    leaves, tree = jax.tree.flatten(PARAMS)
    keys = jax.random.split(jax.random.key(step), len(leaves))
    return jax.tree.unflatten(
        tree,
        [jax.random.normal(k, p.shape) for k, p in zip(keys, leaves, strict=True)],
    )


def walk(rule, steps=5, params=PARAMS):
    state = rule.init(params)
    update = jax.jit(rule.update)
    for step in range(steps):
        updates, state = update(gradients(step), state, params)
        params = optax.apply_updates(params, updates)
    return params


def ours(optimizer, curve=lambda step: 0.01):
    return transformation(optimizer, curve, PARAMS)


def same(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), a, b)


MASK = {"block_0": {"kernel": True, "scale": False}, "embedding": True}
REFERENCES = [
    (
        AdamW(b1=0.8, b2=0.9, weight_decay=0.1, clip=1.0),
        optax.chain(
            optax.clip_by_global_norm(1.0),
            optax.adamw(0.01, 0.8, 0.9, weight_decay=0.1, mask=MASK),
        ),
    ),
    (
        SGD(momentum=0.9, nesterov=True, clip=None),
        optax.sgd(0.01, 0.9, nesterov=True),
    ),
    (SGD(momentum=0.0, clip=None), optax.sgd(0.01)),
    (
        Lion(weight_decay=0.2, clip=None),
        optax.lion(0.01, weight_decay=0.2, mask=MASK),
    ),
    (Adafactor(), optax.adafactor(0.01)),
]


@pytest.mark.parametrize(("value", "reference"), REFERENCES)
def test_equals_optaxs_own(value, reference):
    same(walk(ours(value)), walk(reference))


def test_each_update_has_the_rate_of_its_own_step():
    """The first has that of step 0."""
    rule = ours(SGD(momentum=0.0, clip=None), lambda step: 0.5 / (step + 1))
    state = rule.init(PARAMS)
    for step in range(4):
        updates, state = rule.update(gradients(step), state, PARAMS)
        expected = optax.tree.scale(-0.5 / (step + 1), gradients(step))
        same(updates, expected)


@pytest.mark.slow
def test_muon_orthogonalises_hidden_kernels_only():
    rule = ours(Muon(weight_decay=0.0, clip=None), lambda step: 1.0)
    updates, _ = rule.update(gradients(), rule.init(PARAMS), PARAMS)
    singular = jnp.linalg.svd(updates["block_0"]["kernel"], compute_uv=False)
    # 0.2 sqrt(max(rows, columns)) for each direction, within Newton-Schulz.
    np.testing.assert_allclose(singular, 0.2 * 4**0.5, rtol=0.4)
    # Adam's first step is 1; Nesterov's look ahead adds b1 / (1 + b1).
    first = 1.0 + 0.9 / 1.9
    np.testing.assert_allclose(jnp.abs(updates["embedding"]), first, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ALL)
def test_decay_reaches_only_its_parameters_and_rate_zero_freezes(optimizer):
    chosen = replace(
        optimizer, weight_decay=0.5, decays=(("kernel", True), (".*", False))
    )
    with_decay = walk(ours(chosen))
    without = walk(ours(replace(chosen, weight_decay=0.0)))
    same(with_decay["embedding"], without["embedding"])
    same(with_decay["block_0"]["scale"], without["block_0"]["scale"])
    moved = jnp.abs(with_decay["block_0"]["kernel"] - without["block_0"]["kernel"])
    assert moved.max() > 1e-4
    frozen = replace(chosen, rates=(("block_0", 0.0), (".*", 1.0)))
    kept = walk(ours(frozen))
    jax.tree.map(np.testing.assert_array_equal, kept["block_0"], PARAMS["block_0"])
    same(kept["embedding"], with_decay["embedding"])


# Adafactor normalises by the array, and a stack is one array.
@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [SGD(), AdamW(), Lion(), Muon()])
def test_scanned_blocks_are_updated_like_unrolled_ones(optimizer):
    model = Transformer(layers=2, heads=2, width=8, vocab_size=5, positions=Learned(4))
    params = initialise(model, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))

    def two_steps(params):
        rule = transformation(optimizer, lambda step: 0.1, params)
        state = rule.init(params)
        for size in (1.0, -0.5):
            gradient = optax.tree.scale(size, params)
            updates, state = rule.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
        return params

    a, b = stack_blocks(two_steps(params)), two_steps(stack_blocks(params))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=2e-5), a, b)


def test_a_selector_with_a_gap_is_refused():
    with pytest.raises(UserError, match="optimizer.decays"):
        ours(AdamW(decays=(("kernel", True),)))


def test_muon_without_hidden_matrices_is_refused():
    with pytest.raises(UserError, match="selects no parameter"):
        ours(Muon()).init({"layer_0": {"kernel": jnp.ones((3, 4))}})
