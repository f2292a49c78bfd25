"""Sorted by their expert, tokens are given what all experts would have given them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_jax.kernels import experts, experts_tpu, placement
from lm_jax.kernels.experts import (
    FORMS,
    KINDS,
    Experts,
    Layer,
    mixture,
    of_all,
    of_few,
)
from lm_jax.mesh import make_mesh
from lm_jax.sharding import Sharding, on_mesh
from tests.properties import slow_but

WIDTH, HIDDEN = 6, 8
NAMES = [*FORMS, "TPU v5 lite"]
TOLERANCE = {"float32": 1e-5, "bfloat16": 3e-2}


@pytest.fixture
def interpreted(monkeypatch):
    """Kernels of TPUs are computed step by step, whatever their sizes."""

    def grouped(rows, kernel, sizes, block):
        return experts_tpu.grouped(rows, kernel, sizes, block, True)

    monkeypatch.setattr(experts, "grouped", grouped)
    monkeypatch.setattr(experts, "lacks", lambda *sizes: False)


def inputs(served, gated=True, biased=True, dtype="float32", scale=1):
    """Tokens, weights of the experts that serve them, and the experts.

    Args:
        served: whether an expert serves a token (batch, time, experts).
        scale: how many times as wide all of it is.
    """
    width, hidden = WIDTH * scale, HIDDEN * scale
    keys = iter(jax.random.split(jax.random.key(0), 9))

    def draw(*shape):
        return jax.random.normal(next(keys), shape).astype(dtype)

    def layer(inputs, outputs):
        bias = draw(count, outputs) if biased else None
        return Layer(draw(count, inputs, outputs), bias)

    count = served.shape[-1]
    x = draw(*served.shape[:2], width)
    weights = (0.2 + jax.random.uniform(next(keys), served.shape)) * served
    inner = tuple(layer(width, hidden) for _ in range(1 + gated))
    return x, weights.astype(dtype), Experts(inner, layer(hidden, width))


def routed(batch, time, count, k, seed=0):
    """Each token's k experts, at random."""
    order = np.random.default_rng(seed).random((batch, time, count)).argsort(-1)
    return order < k


def bend(*found):
    return jnp.tanh(found[0]) * found[-1]


def results(form, x, weights, layers):
    """What comes out, and the gradients of all that goes in."""

    def run(x, weights, layers):
        own = jnp.where(weights > 0, weights, 0)  # only these take a gradient
        return form(x, own, layers)

    y, pull = jax.vjp(run, x, weights, layers)
    back = jnp.cos(jnp.arange(y.size)).reshape(y.shape).astype(y.dtype)
    return y, pull(back)


def plain(x, weights, layers):
    y = of_all(x, weights, layers, bend)
    return y if layers.outer.bias is None else y + weights @ layers.outer.bias


def check(found, expected, dtype="float32"):
    """Equal up to the rounding of the type, relative to the largest entry."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    for one, other in pairs:
        assert one.dtype == jnp.dtype(dtype)
        one, other = np.float32(one), np.float32(other)
        scale = max(1.0, np.abs(other).max())
        np.testing.assert_allclose(one, other, atol=TOLERANCE[dtype] * scale, rtol=0)


def agree(name, served, block=None, dtype="float32", **more):
    """A form's values and gradients are the plain ones, computed in float32."""
    arrays = inputs(served, dtype=dtype, **more)
    k = int(served.sum(-1).max())
    form = (FORMS | KINDS)[name]
    form = form if block is None else form._replace(block=block)

    def few(x, weights, layers):
        y = of_few(x, weights, k, layers, bend, form)
        return y if layers.outer.bias is None else y + weights @ layers.outer.bias

    exact = jax.tree.map(lambda a: a.astype(jnp.float32), arrays)
    run = jax.jit(results, static_argnums=0)
    check(
        run(few, *arrays),
        jax.tree.map(lambda a: a.astype(dtype), run(plain, *exact)),
        dtype,
    )


ALL_AND_NONE = routed(2, 7, 3, 1)[..., [0, 1, 2, 2, 2]] & [
    True,
    True,
    True,
    False,
    False,
]
ALL_AND_NONE[..., 3] = True
ROUTINGS = {
    "all and none": ALL_AND_NONE,
    "one": routed(2, 7, 4, 1),
    "three": routed(3, 5, 4, 3),
}


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("routing", slow_but(ROUTINGS, "all and none"))
@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_are_those_of_all_experts(name, routing):
    """Also where all tokens choose an expert and none chooses another."""
    agree(name, ROUTINGS[routing], None if name == "tpu" else 3)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("name", NAMES)
def test_so_are_those_of_bfloat16_without_gates_and_biases(name):
    agree(name, routed(2, 7, 4, 2), None, "bfloat16", gated=False, biased=False)


@pytest.mark.slow
@settings(max_examples=6)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(2, 6)),
    k=st.integers(1, 3),
    block=st.integers(1, 5),
    name=st.sampled_from(sorted(FORMS)),
    seed=st.integers(0, 99),
)
def test_no_token_is_dropped_whatever_the_sizes(shape, k, block, name, seed):
    served = routed(*shape, min(k, shape[-1]), seed)
    agree(name, served, 1 if name == "tpu" else block)


@pytest.mark.slow
@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "sharding", [Sharding(fsdp=2), Sharding(fsdp=2, tensor=2)], ids=["rows", "both"]
)
def test_each_device_serves_its_own_rows(monkeypatch, name, sharding):
    monkeypatch.setattr(placement, "platform", lambda: name)
    monkeypatch.setattr(experts, "device_kind", lambda: name)
    arrays = inputs(routed(4, 3, 4, 2))
    mesh = make_mesh(sharding, jax.devices()[: sharding.fsdp * sharding.tensor])

    def run(*arrays):
        return results(lambda x, w, layers: mixture(x, w, 2, layers, bend), *arrays)

    found = jax.jit(on_mesh(run, sharding, mesh))(*arrays)
    check(found, jax.jit(results, static_argnums=0)(plain, *arrays))


@pytest.mark.slow
def test_tokens_travel_to_experts_on_other_devices_however_few_are_busy():
    """Evenly routed they travel once; here all of them choose the same two experts."""
    sharding = Sharding(expert=2, sequence=2, tensor=2)
    mesh = make_mesh(sharding, jax.devices())
    arrays = inputs(np.broadcast_to(np.arange(4) < 2, (4, 6, 4)))

    def run(*arrays):
        return results(lambda x, w, layers: mixture(x, w, 2, layers, bend), *arrays)

    run = jax.jit(on_mesh(run, sharding, mesh))
    check(run(*arrays), jax.jit(results, static_argnums=0)(plain, *arrays))
    text = run.lower(*arrays).compile().as_text()
    assert "all-to-all" in text
    # No device ever holds another one's experts.
    assert "f32[2,6,4]" in text and "f32[4,6,4]" not in text


def lowered(served, k, target, dtype="float32", scale=1):
    """The program of a step, for a target."""

    def run(*arrays):
        return results(lambda x, w, layers: mixture(x, w, k, layers, bend), *arrays)

    traced = jax.jit(run).trace(*inputs(served, True, False, dtype, scale))
    return traced.lower(lowering_platforms=(target,)).as_text()


def test_the_platform_of_the_mesh_decides(monkeypatch):
    """On a TPU no product is of all experts, forward or backward."""
    served = routed(2, 4, 3, 2)
    monkeypatch.setattr(placement, "platform", lambda: "tpu")
    text = lowered(served, 2, "tpu")
    assert text.count('"chlo.ragged_dot"') == 9 and "dot_general" not in text
    monkeypatch.setattr(placement, "platform", lambda: "gpu")
    assert "ragged" not in lowered(served, 2, "cuda")
    monkeypatch.setattr(placement, "platform", lambda: "cpu")
    assert "while" in lowered(served, 2, "cpu")


@pytest.mark.parametrize(
    ("target", "ragged", "loop"),
    [("cpu", 0, True), ("cuda", 0, False), ("rocm", 0, False), ("tpu", 9, False)],
)
def test_without_a_mesh_what_it_is_compiled_for_decides(target, ragged, loop):
    """As outside training: to generate, to serve, to index."""
    text = lowered(routed(2, 4, 3, 2), 2, target)
    assert text.count('"chlo.ragged_dot"') == ragged and ("while" in text) == loop


@pytest.mark.parametrize("kind", KINDS)
def test_where_a_tpus_compiler_has_no_kernel_there_is_another(monkeypatch, kind):
    """Three products and their six gradients, none of them with all experts."""
    monkeypatch.setattr(placement, "platform", lambda: "tpu")
    monkeypatch.setattr(experts, "device_kind", lambda: kind)
    text = lowered(routed(2, 64, 3, 2), 2, "tpu", "bfloat16", 128)
    assert text.count("call @gmm") + text.count("call @tgmm") == 9
    assert "ragged" not in text and "dot_general" not in text
    narrow = lowered(routed(2, 64, 3, 2), 2, "tpu")
    assert narrow.count('"chlo.ragged_dot"') == 9 and "tpu_custom_call" not in narrow


def test_rows_of_no_expert_give_nothing_whatever_lay_there():
    """The kernel never writes their places: here they hold what is no number."""
    known = np.arange(8)[:, None] < 4
    rows = jnp.where(known, jnp.ones((8, 4)), jnp.nan)
    sizes = jnp.array([2, 2], jnp.int32)

    def run(rows, kernel):
        return experts_tpu.grouped(rows, kernel, sizes, 2, True)

    y, pull = jax.vjp(run, rows, jnp.ones((2, 4, 6)))
    np.testing.assert_array_equal(y, np.where(known, 4, np.zeros((8, 6))))
    of_rows, of_kernel = pull(jnp.where(known, jnp.ones_like(y), jnp.nan))
    np.testing.assert_array_equal(of_rows, np.where(known, 6, np.zeros((8, 4))))
    assert (of_kernel == 2).all()


def test_a_kernel_computes_from_a_part_of_an_axis_where_it_has_no_room_for_all():
    part = experts_tpu._part
    assert (part(2048, 4096), part(14336, 8192), part(6, 8192)) == (2048, 7168, 6)


def test_a_tpu_is_asked_for_no_more_than_bfloat16_has(monkeypatch):
    """Its compiler refuses a ragged product of bfloat16 that asks for more."""
    monkeypatch.setattr(placement, "platform", lambda: "tpu")
    with jax.default_matmul_precision("float32"):
        exact, less = (lowered(routed(2, 4, 3, 2), 2, "tpu", t) for t in TOLERANCE)
    assert "HIGHEST" in exact and "HIGHEST" not in less


def test_all_experts_are_computed_where_all_serve():
    text = lowered(routed(2, 4, 3, 3), 3, "cpu")
    assert "sort" not in text and "while" not in text
