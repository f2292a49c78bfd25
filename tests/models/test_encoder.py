"""The encoder sees both sides, its own text alone, and predicts as BERT does."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.bounds import all_problems
from lm_jax.models import Alternating, Encoder, Gated, Learned, Relative
from lm_jax.models.dropout import example_keys
from lm_jax.models.stack import initialise
from tests.first import first_params

MODEL = Encoder(
    layers=2,
    heads=2,
    width=16,
    vocab_size=11,
    positions=Learned(12),
    segment_types=2,
)
TOKENS = jax.random.randint(jax.random.key(0), (2, 8), 0, 11)


def parameters(model):
    params = first_params(model, 1, TOKENS)
    return jax.tree.map(lambda p: p if (p == 1).all() else p * 10, params)


@partial(jax.jit, static_argnums=0)
def logits(model, params, tokens, **more):
    return model.apply({"params": params}, tokens, **more)[0]


@pytest.fixture(scope="module")
def params():
    return parameters(MODEL)


def test_every_token_sees_every_other(params):
    """Each token, changed, moves all logits of its row and none of the other."""
    before = logits(MODEL, params, TOKENS)
    for place in range(8):
        changed = TOKENS.at[0, place].add(1) % 11
        moved = jnp.abs(logits(MODEL, params, changed) - before).max(-1)
        assert (moved[0] > 1e-4).all() and (moved[1] == 0).all()


def test_padding_and_packing_change_nothing(params):
    segments = jnp.asarray([[1] * 5 + [2] * 3, [1] * 5 + [0] * 3])
    positions = jnp.asarray([[0, 1, 2, 3, 4, 0, 1, 2]] * 2)
    packed = logits(MODEL, params, TOKENS, segments=segments, positions=positions)
    alone = logits(MODEL, params, TOKENS[:, :5])
    np.testing.assert_allclose(packed[:, :5], alone, atol=1e-5)
    second = logits(MODEL, params, TOKENS[:, 5:])
    np.testing.assert_allclose(packed[0, 5:], second[0], atol=1e-5)


def test_kinds_of_sentences_are_told_apart(params):
    types = jnp.zeros_like(TOKENS).at[:, 4:].set(1)
    a, b, c = (
        logits(MODEL, params, TOKENS, types=t)
        for t in (None, jnp.zeros_like(types), types)
    )
    np.testing.assert_array_equal(a, b)
    assert jnp.abs(a - c).max() > 1e-2


def test_parameters_are_berts():
    """Those of Google's bert-base-uncased with its head, less pooler and 2nd task."""
    bert = Encoder(vocab_size=30522, positions=Learned(512), segment_types=2)
    shapes = jax.eval_shape(lambda: initialise(bert, jax.random.key(0), TOKENS))
    count = sum(p.size for p in jax.tree.leaves(shapes))
    assert count == 109_514_298


def test_a_text_is_pooled_by_its_first_token():
    """tanh of a dense layer; other calls give it no parameters."""
    run = jax.jit(partial(MODEL.init, method="pooled"))
    hidden = jax.random.normal(jax.random.key(3), (2, 8, 16))
    own = run(jax.random.key(4), hidden)["params"]["pooler"]
    assert "pooler" not in parameters(MODEL)
    params = {"params": parameters(MODEL) | {"pooler": own}}
    found = MODEL.apply(params, hidden, method="pooled")
    expected = jnp.tanh(hidden[:, 0] @ own["kernel"] + own["bias"])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_head_bends_as_it_is_told(params):
    exact = MODEL.clone(head_activation="gelu_exact")
    a, b = (logits(m, params, TOKENS) for m in (MODEL, exact))
    assert 1e-6 < jnp.abs(a - b).max() < 1e-2


@pytest.mark.slow
def test_other_choices_scan_and_take_dropout():
    unrolled = MODEL.clone(
        positions=Relative(4, 6),
        norm="rms",
        norm_at="pre",
        attention=Alternating(window=2),
        feedforward=Gated(),
        kv_heads=1,
        dropout=0.2,
        use_bias=False,
    )
    noise = example_keys(jax.random.key(2), jnp.arange(2))
    a, b = (
        logits(m, parameters(m), TOKENS, dropout_keys=noise)
        for m in (unrolled, unrolled.clone(scan=True))
    )
    np.testing.assert_allclose(a, b, atol=1e-4)


def test_problems_are_named():
    assert not list(MODEL.problems())
    (problem,) = all_problems(MODEL.clone(segment_types=-1), "model")
    assert "segment_types=-1" in problem
    (problem,) = MODEL.clone(heads=3).problems()
    assert "nearest that does: 2" in problem
