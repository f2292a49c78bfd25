"""A model of one's own needs its fields, features and logits; the base has the rest."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lm_jax.models
from lm_jax.generation import Sampling, generate
from lm_jax.models import Encoder, EncoderDecoder, Model, Recurrent, Transformer
from lm_jax.models.model import lacking, unmet

VOCAB, CONTEXT = 11, 8


class Last(Model):
    """An MLP over the last few tokens."""

    tokens: int = 3
    width: int = 16

    @nn.compact
    def features(self, tokens, **_):
        padded = jnp.pad(tokens, ((0, 0), (self.tokens - 1, 0)))
        time = tokens.shape[1]
        window = jnp.stack([padded[:, k : k + time] for k in range(self.tokens)], -1)
        x = nn.Embed(self.vocab_size, self.width)(window)
        hidden = nn.Dense(self.width)(x.reshape(*tokens.shape, -1))
        return jnp.tanh(hidden), None

    def setup(self):
        self.lm_head = nn.Dense(self.vocab_size)

    def logits(self, hidden):
        return self.lm_head(hidden).astype(jnp.float32)


@pytest.fixture(scope="module")
def own():
    model = Last().filled(VOCAB, CONTEXT)
    tokens = jnp.zeros((1, 4), jnp.int32)
    return model, model.init(jax.random.key(0), tokens)["params"]


def test_a_model_without_a_cache_continues_text_as_if_it_read_all(own):
    """Greedy text equals the likeliest token after the whole window, each time."""
    model, params = own
    prompts = [np.array([1, 2, 3]), np.array([4])]
    new = generate(model, params, prompts, 5, CONTEXT, Sampling(temperature=0.0), 0)
    for prompt, row in zip(prompts, new, strict=True):
        text = list(prompt)
        for token in row:
            logits, _ = model.apply({"params": params}, jnp.array([text[-CONTEXT:]]))
            assert int(logits[0, -1].argmax()) == token
            text.append(int(token))


def test_remembered_tokens_give_the_logits_of_a_whole_reading(own):
    model, params = own
    tokens = jax.random.randint(jax.random.key(1), (2, 6), 0, VOCAB)
    whole, _ = model.apply({"params": params}, tokens)
    cache = model.empty_cache(2, 6)
    for start, stop in ((0, 4), (4, 5), (5, 6)):
        part = tokens[:, start:stop]
        positions = jnp.broadcast_to(jnp.arange(start, stop), part.shape)
        logits, cache = model.apply(
            {"params": params},
            part,
            positions=positions,
            segments=jnp.ones_like(part),
            cache=cache,
        )
        np.testing.assert_allclose(logits, whole[:, start:stop], rtol=1e-5, atol=1e-6)


def test_padding_is_not_remembered(own):
    model, params = own
    cache = model.empty_cache(1, 4)
    tokens, segments = jnp.array([[5, 6]]), jnp.array([[1, 0]])
    positions = jnp.array([[0, 1]])
    _, cache = model.apply(
        {"params": params}, tokens, positions=positions, segments=segments, cache=cache
    )
    assert cache.tokens.tolist() == [[5, 0, 0, 0]]


def test_what_a_model_lacks_is_named():
    calls = {"features": ("source", "dropout_keys"), "encode": ()}
    assert lacking(EncoderDecoder, calls) == lacking(EncoderDecoder(), calls) == []
    assert lacking(Transformer, calls) == ["source in features", "encode"]
    assert lacking(Last(), calls) == ["encode"]  # it takes any argument
    assert lacking(nn.Dense(3), {"features": ()}) == ["features"]


def test_every_model_offers_what_is_asked_of_all():
    assert "filled" in unmet(nn.Dense(3)) and "init" not in unmet(nn.Dense(3))
    assert "init" in unmet(3)
    for kind in vars(lm_jax.models).values():
        if isinstance(kind, type) and issubclass(kind, nn.Module):
            assert issubclass(kind, Model) and not unmet(kind())


def test_models_with_an_embedding_offer_their_vectors():
    for model in (
        Transformer(1, 2, 8).filled(VOCAB, CONTEXT),
        Encoder(1, 2, 8).filled(VOCAB, CONTEXT),
        Recurrent(width=8).filled(VOCAB, CONTEXT),
    ):
        params = model.init(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))["params"]
        vectors = model.apply({"params": params}, method="vectors")
        assert vectors is params["embedding"] or (vectors == params["embedding"]).all()
    assert not lacking(lm_jax.models.GatedConv, {"vectors": ()})
