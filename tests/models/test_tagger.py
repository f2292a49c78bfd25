"""A tagger is its body and one layer over the vector of each token."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.bounds import all_problems
from lm_jax.models import BiRecurrent, ConvEncoder, Encoder, Learned, Tagger
from lm_jax.models.stack import initialise
from tests.first import applied
from tests.models.test_classifier import BODIES, SMALL, TIME, TOKENS, VOCAB, drawn
from tests.properties import slow_but

TYPED = {
    "encoder": Encoder(**SMALL, positions=Learned(TIME), segment_types=3),
    "both ways": BiRecurrent(layers=1, width=6, vocab_size=VOCAB, segment_types=3),
}


@pytest.mark.parametrize("name", slow_but(BODIES, "encoder"))
def test_padding_changes_no_score(name):
    model = Tagger(BODIES[name], classes=3)
    params = drawn(model)
    whole = applied(model, params, TOKENS)
    assert whole.shape == (*TOKENS.shape, 3) and whole.dtype == jnp.float32
    assert np.abs(whole[:, 0] - whole[:, 1]).max() > 1e-2
    for before, after in ((3, 0), (0, 3)):
        width = ((0, 0), (before, after))
        tokens = jnp.pad(TOKENS, width, constant_values=4)
        segments = jnp.pad(jnp.ones_like(TOKENS), width)
        found = applied(model, params, tokens, segments)[:, before : before + TIME]
        np.testing.assert_allclose(found, whole, atol=2e-5)


@pytest.mark.parametrize("name", slow_but(BODIES, "both ways"))
def test_the_parameters_are_those_of_the_body_and_one_layer(name):
    params = initialise(Tagger(BODIES[name]), jax.random.key(0), TOKENS)
    head = params.pop("token_head")
    assert {k: v.shape[-1] for k, v in head.items()} == {"kernel": 2, "bias": 2}
    alone = initialise(BODIES[name], jax.random.key(0), TOKENS, method="features")
    alone = {k: v for k, v in alone.items() if not k.startswith("lm_head")}
    jax.tree.map(np.testing.assert_array_equal, params, alone)


@pytest.mark.slow
@pytest.mark.parametrize("name", TYPED)
def test_a_body_is_told_of_the_passage_and_of_words_of_the_question(name):
    """Of the kinds that it has vectors of: three, two or none."""
    segments = jnp.asarray([[1, 1, 2, 2, 2]] * 2)
    matches = jnp.asarray([[0, 0, 0, 1, 0]] * 2)
    told = {"segments": segments, "matches": matches}
    model = Tagger(TYPED[name])
    params = {"params": drawn(model)}
    found = model.apply(params, TOKENS, **told, method="features")[0]
    types = segments - 1 + matches
    body = {"params": {k: v for k, v in params["params"].items() if k != "token_head"}}
    wanted, _ = model.body.apply(body, TOKENS, types=types, method="features")
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    for kinds, differs in ((3, True), (2, False), (0, False)):
        model = Tagger(TYPED[name].clone(segment_types=kinds))
        params = {"params": drawn(model)}
        with_it = model.apply(params, TOKENS, **told)
        without = model.apply(params, TOKENS, segments=segments)
        assert (abs(with_it - without).max() > 1e-2) == differs


def test_a_body_without_vectors_of_tokens_is_refused():
    [problem] = all_problems(Tagger(ConvEncoder(width=8, kernels=(1,))), "model")
    assert "model.body=ConvEncoder gives no vector of each token" in problem
    assert "a tagger has" in problem and "is one itself" not in problem
