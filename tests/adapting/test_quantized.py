"""Weights of few bits: near the float32 ones, and read as such by every family."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lm_jax.adapting import as_read, dequantized, is_quantized, placed_as, quantize
from lm_jax.adapting.quantized import Quantized
from lm_jax.commands import quantize as command
from lm_jax.errors import NotFinite
from lm_jax.mesh import make_mesh
from lm_jax.models import (
    LSTM,
    Classifier,
    Encoder,
    GatedConv,
    Learned,
    Mean,
    MoE,
    Recurrent,
    Rotary,
    Transformer,
)
from lm_jax.models.stack import initialise, stack_blocks
from lm_jax.selectors import path_name
from lm_jax.sharding import Sharding, state_shardings
from tests.properties import slow_but

TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, 16, (4, 7)), jnp.int32)
SMALL = {"layers": 2, "heads": 2, "width": 16, "vocab_size": 16}
DECODER = Transformer(**SMALL, positions=Learned(8), use_bias=True)
FAMILIES = {
    "decoder": DECODER,
    "experts": Transformer(
        **SMALL, positions=Rotary(), feedforward=MoE(experts=3, k=2), tied=False
    ),
    "encoder": Encoder(**SMALL, positions=Learned(8)),
    "recurrent": Recurrent(LSTM(), width=16, vocab_size=16, tied=False),
    "convolutional": GatedConv(width=16, vocab_size=16),
    "classifier": Classifier(DECODER, Mean(), classes=3),
}
numbers = st.floats(-1e4, 1e4, width=32)
matrices = arrays(np.float32, (3, 4), elements=numbers)


def spread(params):
    """Parameters that all have an effect."""
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: leaf + rng.normal(0, 0.3, leaf.shape).astype(np.float32), params
    )


@pytest.fixture(scope="module")
def decoder():
    return spread(initialise(DECODER, jax.random.key(0), TOKENS))


@given(matrices, st.sampled_from(["kernel", "embedding"]), st.sampled_from([8, 4]))
def test_no_number_moves_by_more_than_half_a_scale(matrix, name, bits):
    (found,) = quantize({name: jnp.asarray(matrix)}, f"int{bits}").values()
    axis = 0 if name == "kernel" else 1
    highest = np.abs(matrix).max(axis=axis, keepdims=True)
    np.testing.assert_allclose(found.scale, highest / (2 ** (bits - 1) - 1), rtol=1e-6)
    assert found.values.dtype == f"int{bits}"
    moved = np.abs(np.asarray(found.unbox()) - matrix)
    assert (moved <= found.scale * 0.50001 + 1e-30).all()


def test_what_is_on_the_grid_comes_back_as_it_was(decoder):
    once = dequantized(quantize(decoder))
    again = dequantized(quantize(once))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-6), once, again)


def test_vectors_stay_and_matrices_do_not(decoder):
    is_box = lambda node: isinstance(node, Quantized)  # noqa: E731
    found = jax.tree_util.tree_leaves_with_path(quantize(decoder), is_leaf=is_box)
    names = {path_name(path) for path, leaf in found if is_box(leaf)}
    matrices = {
        path_name(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(decoder)
        if leaf.ndim == 2
    }
    assert names == matrices and "block_1/up/kernel" in names
    kept = quantize(decoder)["block_0"]["up"]["bias"]
    np.testing.assert_array_equal(kept, decoder["block_0"]["up"]["bias"])
    few = {"relative": {"embedding": jnp.ones((8, 2))}}
    of_experts = {"blocks": {"up": {"bias": jnp.ones((2, 3, 4))}}}
    assert not is_quantized(quantize(few | of_experts))


@pytest.mark.parametrize(
    "name", slow_but(FAMILIES, *(name for name in FAMILIES if name != "experts"))
)
def test_a_model_reads_integers_as_the_matrices_that_they_stand_for(name):
    model = FAMILIES[name]
    lengths = [7] * 4 if name == "classifier" else None
    inputs = [TOKENS] if lengths is None else [TOKENS, jnp.ones((4, 7), jnp.int32)]
    params = spread(model.init(jax.random.key(0), *inputs)["params"])
    few = quantize(params)

    @jax.jit
    def called(params):
        found = model.apply({"params": params}, *inputs)
        return found[0] if isinstance(found, tuple) else found

    exact, near, whole = map(called, (params, few, dequantized(few)))
    np.testing.assert_allclose(near, whole, 1e-4, 1e-4)
    change = np.linalg.norm(near - exact) / np.linalg.norm(exact)
    assert 0 < change < 0.05
    # What is handed over is the integers, and no float32 matrix.
    shapes = [leaf.shape for leaf in jax.tree.leaves(few) if leaf.dtype == jnp.float32]
    assert all(1 in shape[-2:] for shape in shapes if len(shape) > 1)


@pytest.mark.slow
@pytest.mark.parametrize("feedforward", ["dense", "experts"])
def test_layers_of_a_scan_have_scales_of_their_own(feedforward):
    model = FAMILIES["decoder" if feedforward == "dense" else "experts"]
    params = spread(initialise(model, jax.random.key(0), TOKENS))
    few, scanned = quantize(params), quantize(stack_blocks(params))
    jax.tree.map(np.testing.assert_array_equal, stack_blocks(few), scanned)
    looped = model.clone(scan=True)
    a = jax.jit(model.apply)({"params": few}, TOKENS)[0]
    b = jax.jit(looped.apply)({"params": scanned}, TOKENS)[0]
    np.testing.assert_allclose(a, b, 1e-4, 1e-4)


def test_on_several_devices_integers_are_parted_and_scales_copied(decoder):
    sharding = Sharding(fsdp=2, tensor=2)
    mesh = make_mesh(sharding, jax.devices()[:4])
    few = quantize(decoder)
    whole = jax.eval_shape(dequantized, {"params": few})
    places = state_shardings(sharding, mesh, whole)["params"]
    placed = jax.device_put(few, placed_as(few, places))
    up = placed["block_0"]["up"]["kernel"]
    assert up.values.sharding.shard_shape(up.values.shape) == (8, 32)
    assert up.scale.sharding.is_fully_replicated
    found = jax.jit(DECODER.apply)({"params": placed}, TOKENS)[0]
    alone = jax.jit(DECODER.apply)({"params": few}, TOKENS)[0]
    np.testing.assert_allclose(found, alone, 1e-4, 1e-4)


def test_dictionaries_of_a_checkpoint_become_boxes_and_norms_do_not(decoder):
    few = quantize(decoder)
    plain = jax.tree.map(
        lambda node: (
            {"values": node.values, "scale": node.scale}
            if isinstance(node, Quantized)
            else node
        ),
        few,
        is_leaf=lambda node: isinstance(node, Quantized),
    )
    assert jax.tree.structure(as_read(plain)) == jax.tree.structure(few)
    own = {"values": jnp.ones((2, 2)), "scale": jnp.ones((2, 1))}
    assert as_read(own) == own


def test_a_matrix_that_is_not_finite_is_refused_by_name(decoder):
    broken = {"block_0": {"up": {"kernel": jnp.full((2, 2), jnp.nan)}}}
    with pytest.raises(NotFinite, match="'block_0/up/kernel'"):
        quantize(broken)


def test_of_a_score_of_nothing_no_share_is_told(monkeypatch):
    scores = iter([{"accuracy": 0.0, "loss": 2.0}, {"accuracy": 0.5, "loss": 1.0}])
    monkeypatch.setattr(command, "_score", lambda *_: next(scores))
    assert dict(command._scores(Path("a"), Path("b"), 1)) == {
        "validation accuracy": "0.000000, 0.500000 now",
        "validation loss": "2.000000, 1.000000 now (-50.000%)",
    }
