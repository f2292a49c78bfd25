"""Attention by hand-written gradients equals autodiff of its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_jax.kernels import attention_blocks
from lm_jax.kernels.attention import Sight, attend
from lm_jax.kernels.attention_blocks import attend_long
from lm_jax.mesh import make_mesh
from lm_jax.models.dropout import dropout, example_keys
from lm_jax.models.patterns import causal_mask
from lm_jax.models.softmax import kept_weights
from lm_jax.sharding import Sharding, on_mesh
from tests.first import with_gradients
from tests.properties import quick, slow_but


def defined(
    query, key, value, mask, rate=0.0, dropout_keys=None, bias=0.0, softcap=None
):
    """Softmax(cap(query key^T / sqrt(dim)) + bias) value, word for word."""
    groups = query.shape[1] // key.shape[1]
    key, value = (jnp.repeat(x, groups, axis=1) for x in (key, value))
    scores = query @ jnp.swapaxes(key, -1, -2) / np.sqrt(query.shape[-1])
    if softcap is not None:
        scores = softcap * jnp.tanh(scores / softcap)
    weights = jax.nn.softmax(jnp.where(mask, scores + bias, -1e30), axis=-1)
    return dropout(weights, rate, dropout_keys, "attention weights") @ value


def inputs(batch, heads, kv_heads, time, slots, dim, dtype="float32"):
    shapes = [(batch, heads, time, dim)] * 2 + [(batch, kv_heads, slots, dim)] * 2
    draw = np.random.default_rng(time)
    return [jnp.asarray(draw.normal(size=shape), dtype) for shape in shapes]


def all_of(attention, query, gradient, key, value):
    return with_gradients(attention, gradient, query, key, value)


def check(found, expected, tolerance):
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        one, other = np.float32(one), np.float32(other)
        scale = max(1.0, np.abs(other).max())
        np.testing.assert_allclose(one, other, atol=tolerance * scale, rtol=0)


@pytest.mark.slow
@settings(max_examples=6)
@given(
    batch=st.integers(1, 3),
    kv_heads=st.integers(1, 2),
    group=st.integers(1, 3),
    time=st.integers(1, 6),
    slots=st.integers(1, 6),
    rate=st.sampled_from([0.0, 0.5]),
)
def test_values_and_gradients_for_any_mask(batch, kv_heads, group, time, slots, rate):
    arrays = inputs(batch, kv_heads * group, kv_heads, time, slots, dim=4)
    mask = jax.random.bernoulli(jax.random.key(1), 0.7, (batch, 1, time, slots))
    noise = example_keys(jax.random.key(2), jnp.arange(batch))
    args = (mask, rate, noise)
    kept = kept_weights(arrays[0], arrays[2], rate, noise)
    run = jax.jit(all_of, static_argnums=0)
    found = run(lambda q, k, v: attend(q, k, v, mask, kept), *arrays)
    expected = run(lambda q, k, v: defined(q, k, v, *args), *arrays)
    check(found, expected, 1e-5)


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("time", slow_but([5, 128, 300], 128))
def test_leaving_out_what_is_hidden_changes_nothing(time, dtype, tolerance):
    arrays = inputs(2, 4, 2, time, time, dim=8, dtype=dtype)
    segments = jnp.arange(2 * time).reshape(2, time) // 70
    mask = causal_mask(time, segments)
    noise = example_keys(jax.random.key(2), jnp.arange(2))
    args = (mask, 0.3, noise)
    kept = kept_weights(arrays[0], arrays[2], 0.3, noise)
    run = jax.jit(all_of, static_argnums=0)
    found = run(lambda q, k, v: attend(q, k, v, mask, kept, causal=True), *arrays)
    exact = [x.astype(jnp.float32) for x in arrays]
    expected = run(lambda q, k, v: defined(q, k, v, *args), *exact)
    check(found, expected, tolerance)


def test_an_example_by_vmap_is_the_example_alone():
    arrays = inputs(3, 2, 2, 6, 6, dim=4)
    mask = causal_mask(6)

    def run(*one):
        one = [x[None] for x in one]
        return all_of(lambda q, k, v: attend(q, k, v, mask, causal=True), *one)

    found = jax.vmap(run)(*arrays)
    expected = all_of(lambda q, k, v: attend(q, k, v, mask), *arrays)
    check([x[:, 0] for x in found], expected, 1e-6)


@pytest.mark.parametrize("rows", slow_but([1, 2], 2))
@pytest.mark.parametrize("softcap", [None, 1.5])
def test_bias_and_softcap_and_their_gradients(rows, softcap):
    query, *others = inputs(2, 4, 2, 140, 140, dim=8)
    bias = jax.random.normal(jax.random.key(5), (rows, 4, 140, 140))
    mask = causal_mask(140)

    def run(attention, bias, *arrays, **more):
        def biased(bias, query, key, value):
            return attention(
                query, key, value, mask, bias=bias, softcap=softcap, **more
            )

        return with_gradients(biased, others[0], bias, *arrays)

    arrays = (query, *others[1:])
    found = run(attend, bias, *arrays, causal=True)
    expected = run(defined, bias, *arrays)
    assert found[1].shape == bias.shape and jnp.abs(found[1]).max() > 0.01
    check(found, expected, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("window", [1, 70, 400])
def test_leaving_out_what_is_too_far_changes_nothing(window):
    arrays = inputs(1, 2, 2, 300, 300, dim=4)
    distance = jnp.arange(300)[:, None] - jnp.arange(300)
    mask = causal_mask(300) & (distance < window)
    found = all_of(
        lambda q, k, v: attend(q, k, v, mask, causal=True, window=window), *arrays
    )
    check(found, all_of(lambda q, k, v: defined(q, k, v, mask), *arrays), 1e-5)


def test_another_scale_is_another_size_of_the_query():
    query, _, key, value = inputs(1, 2, 2, 6, 6, dim=4)
    mask = causal_mask(6)
    found = attend(query, key, value, mask, scale=0.25)
    np.testing.assert_allclose(found, attend(query / 2, key, value, mask), atol=1e-6)


SIGHTS = {
    "causal": Sight(True, None, None),
    "both sides": Sight(False, None, None),
    "window": Sight(True, 70, None),
    "window of both sides": Sight(False, 70, None),
    "segments": Sight(True, None, jnp.arange(600).reshape(2, 300) // 80),
}


@pytest.mark.parametrize("name", slow_but(SIGHTS, "causal", "segments"))
def test_without_kept_weights_it_is_the_same(name):
    """Of 300 tokens, which no block divides."""
    sight = SIGHTS[name]
    arrays = inputs(2, 4, 2, 300, 300, dim=8)
    ids = jnp.arange(300)
    mask = jnp.broadcast_to(sight.mask(ids, ids), (2, 1, 300, 300))
    run = jax.jit(all_of, static_argnums=0)
    found = run(lambda *a: attend_long(*a, sight, 8**-0.5, 1.5), *arrays)
    expected = run(lambda *a: defined(*a, mask, softcap=1.5), *arrays)
    check(found, expected, 1e-5)


def test_without_kept_weights_what_is_added_is_too():
    sight, ids = SIGHTS["window"], jnp.arange(300)
    query, gradient, key, value = inputs(2, 4, 2, 300, 300, dim=8)
    bias = jax.random.normal(jax.random.key(1), (1, 4, 300, 300))
    mask = sight.mask(ids, ids)

    def of(attention):
        def loss(query, bias):
            return (attention(query, bias) * gradient).sum()

        return jax.jit(jax.value_and_grad(loss, (0, 1)))(query, bias)

    found = of(lambda q, b: attend_long(q, key, value, sight, 0.3, bias=b))
    expected = of(lambda q, b: attend(q, key, value, mask, scale=0.3, bias=b))
    check(jax.tree.leaves(found), jax.tree.leaves(expected), 1e-5)


@pytest.mark.slow
def test_memory_is_linear_in_time():
    def temporaries(time):
        def loss(query, key, value):
            sight = Sight(True, None, None)
            return attend_long(query, key, value, sight, 1.0).sum()

        shape = jax.ShapeDtypeStruct((1, 2, time, 16), jnp.float32)
        made = jax.jit(jax.grad(loss, (0, 1, 2))).lower(shape, shape, shape).compile()
        return made.memory_analysis().temp_size_in_bytes

    assert temporaries(8192) < 2.2 * temporaries(4096)


def test_a_sight_is_the_mask_of_its_words():
    ids = jnp.arange(140)
    segments = jnp.arange(280).reshape(2, 140) // 50
    for texts in (None, segments):
        causal = Sight(True, None, texts).mask(ids, ids)
        np.testing.assert_array_equal(causal, causal_mask(140, texts))
    near = jnp.abs(ids[:, None] - ids) < 9
    window = Sight(True, 9, segments).mask(ids, ids)
    np.testing.assert_array_equal(window, causal_mask(140, segments) & near)


@quick
@given(st.integers(1, 20_000))
def test_blocks_of_a_long_text_are_few_and_of_whole_queries_but_the_last(time):
    blocks = attention_blocks._long_blocks(time)
    assert [start for start, _ in blocks] == [0, *(end for _, end in blocks[:-1])]
    assert blocks[-1][1] == time and len(blocks) <= 9
    *sizes, last = [end - start for start, end in blocks]
    assert all(size % attention_blocks.QUERIES == 0 for size in sizes)
    assert last % attention_blocks.QUERIES == 0 or last < attention_blocks.QUERIES


@pytest.mark.parametrize("rows", [1, 2])
def test_one_token_of_bfloat16_attends_as_in_float32(rows):
    query, gradient, key, value = inputs(2, 3, 3, 1, 7, 8, "bfloat16")
    bias = jax.random.normal(jax.random.key(1), (rows, 3, 1, 7))
    mask = jnp.arange(7) < jnp.array([5, 7])[:, None, None, None]

    def ours(query, key, value, bias):
        return attend(query, key, value, mask, bias=bias)

    def plain(query, key, value, bias):
        return defined(query, key, value, mask, bias=bias)

    found = with_gradients(ours, gradient, query, key, value, bias)
    given = (gradient, query, key, value, bias)
    wanted = with_gradients(plain, *(jnp.float32(part) for part in given))
    assert [part.shape for part in found] == [part.shape for part in wanted]
    check(found, wanted, 3e-2)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="of the CPU's own form")
def test_one_token_makes_no_float32_copies_of_a_cache_in_bfloat16():
    query, _, key, value = inputs(2, 4, 4, 1, 256, 64, "bfloat16")
    mask = jnp.ones((1, 1, 1, 256), bool)
    compiled = jax.jit(attend).lower(query, key, value, mask).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < key.size


@pytest.mark.parametrize("name", slow_but(["plain", *SIGHTS], "segments"))
def test_several_devices_attend_to_a_text_that_they_share(name, monkeypatch):
    """Values and gradients of both forms; of the plain one with bias and dropout."""
    monkeypatch.setattr(attention_blocks, "QUERIES", 64)
    arrays, ids = inputs(2, 4, 2, 300, 300, dim=8), jnp.arange(300)
    bias = jnp.cos(jnp.arange(4 * 300 * 300.0)).reshape(1, 4, 300, 300)
    kept = 2.0 * (jax.random.uniform(jax.random.key(1), (2, 4, 300, 300)) < 0.5)

    def attends(q, k, v):
        if name in SIGHTS:
            return attend_long(q, k, v, SIGHTS[name], scale=0.3)
        mask = SIGHTS["segments"].mask(ids, ids)
        return attend(q, k, v, mask, kept, bias=bias, softcap=3.0)

    def run(*arrays):
        return all_of(attends, *arrays)

    sharding = Sharding(sequence=2, tensor=2)
    mesh = make_mesh(sharding, jax.devices()[:4])
    together = jax.jit(on_mesh(run, sharding, mesh))
    check(together(*arrays), jax.jit(run)(*arrays), 1e-5)
    if name == "plain":  # scores are of a device's own queries and heads
        assert "f32[2,2,150,300]" in together.lower(*arrays).compile().as_text()
