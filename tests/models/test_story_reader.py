"""A sentence depends on its words, their places, and the sentences before it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.models import KerpleLog, Rotary, StoryReader

MODEL = StoryReader(layers=2, heads=2, width=8, positions=Rotary(), vocab_size=9)


def read(model, params, sentences, **more):
    return model.apply({"params": params}, sentences, **more, method="features")[0]


@pytest.fixture(scope="module")
def both():
    sentences = jax.random.randint(jax.random.key(1), (2, 6, 4), 0, 9)
    sentences = sentences.at[:, ::2, 2:].set(-1)
    made = MODEL.init(jax.random.key(0), sentences, method="features")["params"]
    weights = 1 + 0.3 * jax.random.normal(jax.random.key(2), (4, 8))
    return made | {"places": weights}, sentences


def test_no_sentence_depends_on_a_later_one(both):
    params, sentences = both
    changed = read(MODEL, params, sentences.at[:, 3].set(5))
    whole = read(MODEL, params, sentences)
    np.testing.assert_array_equal(changed[:, :3], whole[:, :3])
    assert (np.abs(changed - whole)[:, 3:].max(-1) > 1e-4).all()


def test_the_order_of_words_counts_and_padding_does_not(both):
    params, sentences = both
    whole = read(MODEL, params, sentences)
    turned = read(MODEL, params, sentences[..., ::-1])
    assert np.abs(whole - turned).max() > 1e-3
    wide = jnp.pad(sentences, ((0, 0), (0, 0), (0, 3)), constant_values=-1)
    places = jnp.pad(params["places"], ((0, 3), (0, 0)), constant_values=7.0)
    padded = read(MODEL, params | {"places": places}, wide)
    np.testing.assert_allclose(padded, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("positions", [Rotary(), KerpleLog()])
def test_stories_side_by_side_are_read_as_if_alone(both, positions):
    _, sentences = both
    model = MODEL.clone(positions=positions)
    params = model.init(jax.random.key(0), sentences, method="features")["params"]
    row = sentences.reshape(1, 12, 4)
    segments = jnp.repeat(jnp.array([1, 2]), 6)[None]
    places = jnp.tile(jnp.arange(6), 2)[None]
    packed = read(model, params, row, segments=segments, positions=places)
    alone = read(model, params, sentences)
    np.testing.assert_allclose(packed[0], alone.reshape(12, 8), rtol=1e-4, atol=1e-5)
