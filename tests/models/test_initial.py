"""Initial values by role, and the coordinate check of muP."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lm_jax.models import (
    GPT2,
    Classifier,
    FanIn,
    MuP,
    NoPositions,
    Normal,
    Tagger,
    Transformer,
    ZeroProjections,
    mup_rates,
)
from lm_jax.models.initial import stale_rates
from lm_jax.optimizers import AdamW, transformation
from tests.properties import slow_but

MODEL = Transformer(
    layers=3, heads=2, width=64, vocab_size=50, positions=NoPositions(), tied=False
)
TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, 50, (4, 16)))


def start(model):
    return jax.jit(model.init)(jax.random.key(0), TOKENS)["params"]


ROOT = (2 * 3) ** 0.5
EXPECTED = {
    Normal(0.1): (0.1, 0.1, 0.1, 0.1, 0.1),
    GPT2(): (0.02, 0.02, 0.02 / ROOT, 0.02 / ROOT, 0.02),
    FanIn(): (0.02, 64**-0.5, 64**-0.5 / ROOT, 256**-0.5 / ROOT, 0.02),
    ZeroProjections(): (0.02, 0.02, 0.0, 0.0, 0.02),
    MuP(base_width=16): (0.02, 0.01, 0.01 / ROOT, 0.01 / ROOT, 0.02),
}
FEW = FanIn(), MuP(base_width=16)


@pytest.mark.parametrize(
    "initial", slow_but(EXPECTED, *FEW), ids=lambda v: type(v).__name__
)
def test_each_role_has_its_size(initial):
    params = start(MODEL.clone(initial=initial))
    block = params["block_1"]
    kernels = (
        params["embedding"],
        block["attention"]["query"]["kernel"],
        block["attention"]["output"]["kernel"],
        block["down"]["kernel"],
        params["lm_head"]["kernel"],
    )
    found = [float(k.std()) for k in kernels]
    np.testing.assert_allclose(found, EXPECTED[initial], rtol=0.08)


def test_mup_at_its_base_is_gpt2():
    base = MODEL.clone(initial=MuP(base_width=64, base_dim=32))
    params = start(MODEL)
    jax.tree.map(np.testing.assert_array_equal, params, start(base))
    a, b = (jax.jit(m.apply)({"params": params}, TOKENS)[0] for m in (MODEL, base))
    np.testing.assert_allclose(a, b, atol=1e-6)


def changes(width, muP):
    """How far three steps of Adam move features and logits, on average."""
    initial = MuP(base_width=32, base_dim=16) if muP else GPT2()
    model = MODEL.clone(width=width, layers=1, initial=initial)
    rates = mup_rates(model, 32) if muP else AdamW().rates
    optimizer = AdamW(weight_decay=0.0, clip=None, rates=rates)

    def outputs(params):
        hidden, _ = model.apply({"params": params}, TOKENS, method="features")
        return hidden, model.apply({"params": params}, hidden, method="logits")

    def loss(params):
        nats = optax.softmax_cross_entropy_with_integer_labels
        return nats(outputs(params)[1][:, :-1], TOKENS[:, 1:]).mean()

    @jax.jit
    def run():
        first = model.init(jax.random.key(0), TOKENS)["params"]
        rule = transformation(optimizer, lambda step: 0.01, first)

        def step(carry, _):
            params, state = carry
            updates, state = rule.update(jax.grad(loss)(params), state, params)
            return (optax.apply_updates(params, updates), state), None

        (last, _), _ = jax.lax.scan(step, (first, rule.init(first)), None, 3)
        pairs = zip(outputs(first), outputs(last), strict=True)
        return [jnp.abs(after - before).mean() for before, after in pairs]

    return np.array(run())


@pytest.mark.parametrize(
    ("over", "method", "features"),
    [(Classifier, "class_logits", (1,)), (Tagger, "token_logits", (1, 1))],
)
def test_a_head_over_a_body_follows_mups_rule(over, method, features):
    """At its base width it is as without; wider, it starts and learns by less."""
    mup = MuP(base_width=32, base_dim=16)
    for width in (32, 512):
        plain, model = (
            over(MODEL.clone(width=width, initial=initial), classes=8)
            for initial in (GPT2(), mup)
        )
        hidden = jnp.zeros((*features, width))
        first, scaled = (
            each.init(jax.random.key(0), hidden, method=method)["params"]
            for each in (plain, model)
        )
        (name,) = first
        ratio = scaled[name]["kernel"] / first[name]["kernel"]
        np.testing.assert_allclose(ratio, (32 / width) ** 0.5, rtol=1e-5)
        rates = mup_rates(model, 32)
        found = next(rate for path, rate in rates if re.search(path, f"{name}/kernel"))
        assert found == 32 / width and stale_rates(model, rates) is None
    wrong = mup_rates(over(MODEL.clone(width=64)), 32)
    assert "32 / 512 = 0.0625" in stale_rates(model, wrong)


@pytest.mark.slow
def test_the_coordinate_check():
    """Yang et al. 2022, D.1: with muP the change doesn't grow with the width."""
    widths = 32, 128
    standard, scaled = (
        changes(widths[1], muP) / changes(widths[0], muP) for muP in (False, True)
    )
    assert standard[1] > 2.0
    assert (scaled < 1.5).all() and (scaled > 0.5).all()


def test_the_first_number_of_mup_is_its_base_width():
    assert MuP(128) == MuP(base_width=128)
    assert MuP(128, 32, deviation=0.1).std("embedding", 1, 256, 2) == 0.1


def test_with_mup_rate_times_decay_is_the_same_at_all_widths():
    """As the package mup has it; PyTorch's groups let it shrink with the rate."""

    def shrunk(width, rated):
        params = {"block_0": {"kernel": jnp.ones((2, 2))}}
        rates = mup_rates(MODEL.clone(width=width), 32)
        optimizer = AdamW(weight_decay=0.5, rates=rates, rated_decay=rated)
        rule = transformation(optimizer, lambda step: 0.1, params)
        zeros = jax.tree.map(jnp.zeros_like, params)
        updates, _ = rule.update(zeros, rule.init(params), params)
        return -float(updates["block_0"]["kernel"][0, 0])

    assert shrunk(32, False) == shrunk(128, False) == pytest.approx(0.05)
    assert shrunk(128, True) == pytest.approx(0.05 / 4)
