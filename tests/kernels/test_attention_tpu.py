"""Splash attention, computed step by step, is the plain form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.kernels.attention import attend
from lm_jax.kernels.attention_tpu import attend_splash, lacks
from lm_jax.models import (
    Alternating,
    BlockLocal,
    Full,
    Rotary,
    SlidingWindow,
    Transformer,
)
from lm_jax.models.patterns import causally_shared, shared_from_both_sides
from lm_jax.sharding import Sharding, make_mesh, on_mesh
from tests.kernels.test_attention import all_of, check, inputs

TIME = 256
CASES = {
    "causal": {},
    "both sides, few keys": {"causal": False, "kv_heads": 1},
    "window, segments": {"pattern": SlidingWindow(70), "segments": True},
    "softcap, segments": {"softcap": 2.0, "segments": True},
    "window of both sides": {"pattern": SlidingWindow(130), "causal": False},
    "every second layer": {"pattern": Alternating(50), "index": 0},
    "bfloat16": {"segments": True, "dtype": "bfloat16"},
}


def forms(pattern=Full(), causal=True, segments=False, softcap=None, index=0, rows=2):
    """The plain form and the kernel, of queries, keys and values."""
    texts = jnp.arange(rows * TIME).reshape(rows, TIME) // 90 if segments else None
    share = causally_shared if causal else shared_from_both_sides
    shared = share(TIME, None, texts, None)
    near = pattern.sees(
        shared.positions[:, :, None], shared.key_positions[:, None], index
    )
    mask = shared.mask if near is None else shared.mask & near[:, None]
    sight = pattern.sight(causal, texts, index)

    def plain(query, key, value):
        return attend(query, key, value, mask, scale=0.3, softcap=softcap)

    def kernel(query, key, value):
        return attend_splash(query, key, value, sight, 0.3, softcap, interpret=True)

    return plain, kernel


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_the_plain_form(name):
    more = dict(CASES[name])
    dtype = more.pop("dtype", "float32")
    arrays = inputs(2, 2, more.pop("kv_heads", 2), TIME, TIME, 64, dtype)
    plain, kernel = forms(**more)
    run = jax.jit(all_of, static_argnums=0)
    tolerance = 1e-5 if dtype == "float32" else 2e-2
    check(run(kernel, *arrays), run(plain, *arrays), tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("sharding", [Sharding(fsdp=4), Sharding(tensor=2)], ids=str)
def test_each_device_attends_for_its_own_rows_and_heads(sharding):
    arrays = inputs(4, 2, 2, TIME, TIME, dim=64)
    plain, kernel = forms(segments=True, rows=4)
    devices = jax.devices()[:4]
    if sharding.tensor == 2:
        devices = devices[:2]
    mesh = make_mesh(sharding, devices)
    run = jax.jit(on_mesh(lambda *a: all_of(kernel, *a), sharding, mesh))
    check(run(*arrays), jax.jit(all_of, static_argnums=0)(plain, *arrays), 1e-5)


def test_what_the_kernel_lacks_is_said():
    query, _, key, _ = inputs(1, 2, 1, 128, 128, dim=64)
    sight = Full().sight(True, None, 0)
    assert lacks(query, key, sight) is None
    assert "100 tokens" in lacks(query[:, :, :100], key[:, :, :100], sight)
    assert "width 40" in lacks(query[..., :40], key[..., :40], sight)
    assert "128 tokens" in lacks(query, key[:, :, :64], sight)
    assert "blocks" in lacks(query, key, None)
    assert "scores" in lacks(query, key, sight, bias=query)
    assert "Dropout" in lacks(query, key, sight, kept=query)


def test_only_what_has_words_is_handed_on():
    index = jnp.zeros((), jnp.int32)
    assert Alternating(50).sight(True, None, index) is None
    assert BlockLocal(50).sight(True, None, 0) is None
    assert Alternating(50, every=2).sight(True, None, 1).window is None
    np.testing.assert_equal(SlidingWindow(50).sight(False, None, index).window, 50)


def test_the_platform_of_the_mesh_decides(monkeypatch):
    """A decoder takes the kernel where it can, and says where it can't."""
    from lm_jax.models import softmax

    taken = []

    def noted(query, key, value, sight, **more):
        taken.append(sight)
        return query

    monkeypatch.setattr(softmax, "platform", lambda: "tpu")
    monkeypatch.setattr(softmax, "attend_splash", noted)
    model = Transformer(
        layers=1, heads=1, width=64, vocab_size=8, positions=Rotary(), dropout=0.1
    )
    tokens = jnp.zeros((1, 128), jnp.int32)
    params = jax.eval_shape(model.init, jax.random.key(0), tokens)
    assert [sight.causal for sight in taken] == [True]
    keys = jax.random.split(jax.random.key(0), 1)
    with pytest.warns(UserWarning, match="Dropout .* plain form"):
        jax.eval_shape(lambda p: model.apply(p, tokens, dropout_keys=keys), params)
    assert len(taken) == 1
