"""Maps of attention are what the values are mixed by, and nobody else makes them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.errors import UserError
from lm_jax.inspection.attention import attention_maps
from lm_jax.kernels.attention import attend, weights_of
from lm_jax.models import (
    ALiBi,
    Classifier,
    Encoder,
    GatedConv,
    Mean,
    Rotary,
    SlidingWindow,
    Transformer,
)
from lm_jax.models import softmax as softmax_module
from lm_jax.objectives import NextToken
from tests.inspection.made import CONTEXT, SMALL, classifier, decoder, encoder

TEXT = "the cat sees"


@pytest.mark.parametrize("softcap", [None, 2.0])
def test_weights_are_those_that_attention_mixes_by(softcap):
    draw = np.random.default_rng(0)
    query = jnp.asarray(draw.normal(size=(2, 4, 6, 8)), jnp.float32)
    key, value = (
        jnp.asarray(draw.normal(size=(2, 2, 6, 8)), jnp.float32) for _ in range(2)
    )
    mask = jnp.tril(jnp.ones((1, 1, 6, 6), bool))
    bias = jnp.asarray(draw.normal(size=(1, 4, 6, 6)), jnp.float32)
    weights = weights_of(query, key, mask, bias, 0.7, softcap)
    mixed = weights @ jnp.repeat(value, 2, axis=1)
    whole = attend(query, key, value, mask, None, True, bias, 0.7, softcap)
    np.testing.assert_allclose(mixed, whole, atol=1e-5)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)


MODELS = {
    "decoder": Transformer(**SMALL),
    "alibi": Transformer(**SMALL | {"positions": ALiBi()}),
    "window": Transformer(**SMALL, attention=SlidingWindow(3)),
    "groups": Transformer(**SMALL | {"positions": Rotary()}, kv_heads=1),
    "scanned": Transformer(**SMALL, scan=True),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_token_looks_at_what_is_before_it(name):
    model = decoder(MODELS[name].clone(scan=False))
    ids = model.tokenizer.encode(TEXT)
    if name == "scanned":  # a run keeps its layers apart, however they are computed
        model = type(model)(**vars(model) | {"model": model.model.clone(scan=True)})
    maps = attention_maps(model, ids)
    assert maps.shape == (2, 2, len(ids), len(ids))
    np.testing.assert_allclose(maps.sum(-1), 1, atol=1e-5)
    assert not np.triu(maps, 1).any()
    if name == "window":
        assert not np.tril(maps, -3).any()
    assert np.tril(maps).max() < 1.01 and (maps[:, :, -1] > 0).sum() > 4


def test_the_maps_are_of_what_the_model_computes():
    """Changing what a token is mixed of by a map's share moves it by that share."""
    model = encoder()
    ids = model.tokenizer.encode(TEXT)
    maps = attention_maps(model, ids, np.ones(len(ids), np.int32))
    np.testing.assert_allclose(maps.sum(-1), 1, atol=1e-5)
    assert np.triu(maps[0, 0], 1).any()  # from both sides
    segments = np.ones(len(ids), np.int32)
    segments[-3:] = 0
    hidden = attention_maps(model, ids, segments)
    assert not hidden[:, :, :-3, -3:].any()


def test_a_classifier_shows_its_body():
    model = classifier(Classifier(Encoder(**SMALL), Mean()))
    ids = model.tokenizer.encode("the cat sees the mouse.")
    assert attention_maps(model, ids).shape == (2, 2, 5, 5)


def test_nothing_is_made_where_nobody_looks(monkeypatch):
    model = decoder()

    def never(*_, **__):
        raise AssertionError("weights were made")

    monkeypatch.setattr(softmax_module, "weights_of", never)
    batch = {"inputs": jnp.ones((1, 4), jnp.int32), "row": jnp.zeros(1, jnp.int32)}
    batch["targets"] = batch["inputs"]

    def loss(params):
        return NextToken()(model.model, params, batch, jax.random.key(0)).loss

    jax.jit(jax.grad(loss)).trace(model.params)
    jax.eval_shape(
        lambda: model.model.init(jax.random.key(0), batch["inputs"])["params"]
    )
    with pytest.raises(AssertionError, match="weights were made"):
        attention_maps(model, model.tokenizer.encode("a"))


def test_what_attends_to_nothing_is_refused():
    model = decoder(GatedConv(width=8))
    with pytest.raises(UserError, match="no layer of softmax"):
        attention_maps(model, model.tokenizer.encode(TEXT))
    with pytest.raises(UserError, match=f"reads {CONTEXT} at once"):
        attention_maps(decoder(), model.tokenizer.encode(TEXT * 4))
