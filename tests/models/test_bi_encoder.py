"""A bi-encoder reads each text by itself; padding and the other side change nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.models import (
    BagOfVectors,
    BiEncoder,
    BiRecurrent,
    Encoder,
    First,
    Last,
    Learned,
    Mean,
    Recurrent,
    Transformer,
)
from tests.first import first_params

VOCAB, TIME = 11, 6
SMALL = {"layers": 1, "heads": 2, "width": 8, "vocab_size": VOCAB}
BODIES = {
    "causal": Transformer(**SMALL, positions=Learned(TIME + 3)),
    "both sides": Encoder(**SMALL, positions=Learned(TIME + 3)),
    "recurrent": Recurrent(width=8, vocab_size=VOCAB),
    "bag": BagOfVectors(8, vocab_size=VOCAB),
}
TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, VOCAB, (3, TIME)))
SEGMENTS = (jnp.arange(TIME) < jnp.array([[6], [2], [4]])).astype(jnp.int32)


def both(model, batch):
    return model.query_vectors(batch) + model.passage_vectors(batch), None


def made(body, **fields):
    model = BiEncoder(BODIES[body], vocab_size=VOCAB, **fields)
    return model, first_params(model, 0, TOKENS, method=both)


def vectors(model, params, side, tokens, segments):
    method = f"{side}_vectors"
    return model.apply({"params": params}, tokens, segments, method=method)


@pytest.mark.slow
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("pool", [Mean(), First(), Last()])
def test_padding_changes_no_vector(body, pool):
    model, params = made(body, pool=pool)
    whole = vectors(model, params, "query", TOKENS, SEGMENTS)
    rubbish = jnp.where(SEGMENTS, TOKENS, 3)
    again = vectors(model, params, "query", rubbish, SEGMENTS)
    np.testing.assert_allclose(again, whole, atol=1e-6)
    pad = ((0, 0), (0, 3))
    wide = vectors(
        model, params, "query", *(jnp.pad(x, pad) for x in (TOKENS, SEGMENTS))
    )
    np.testing.assert_allclose(wide, whole, atol=1e-6)
    alone = vectors(model, params, "query", TOKENS[1:2, :2], SEGMENTS[1:2, :2])
    np.testing.assert_allclose(alone, whole[1:2], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("towers", ["shared", "apart"])
def test_towers_are_one_or_two(towers):
    model, params = made("both sides", towers=towers)
    query, passage = (
        vectors(model, params, side, TOKENS, SEGMENTS) for side in ("query", "passage")
    )
    same = np.allclose(query, passage, atol=1e-6)
    assert same is (towers == "shared")
    if towers == "shared":
        alone = first_params(BODIES["both sides"], 0, TOKENS)
        assert {*alone} - {*params} >= {"head", "head_norm"}
        assert {*params} < {*alone}
    else:
        assert {*params} == {"query_tower", "passage_tower"}
        assert model.apply({"params": params}, method="vectors").shape == (VOCAB, 8)


def test_a_product_keeps_lengths_and_a_row_of_padding_has_a_gradient_that_is_finite():
    model, params = made("bag", similarity="product")
    found = vectors(model, params, "query", TOKENS, SEGMENTS)
    assert abs(np.linalg.norm(found, axis=1) - 1).max() > 0.1
    model = model.clone(similarity="cosine")

    def summed(params):
        return vectors(model, params, "passage", TOKENS, SEGMENTS * 0).sum()

    gradient = jax.grad(summed)(params)["embedding"]
    assert jnp.isfinite(gradient).all()


def test_a_body_without_vectors_of_tokens_is_refused():
    (problem,) = BiEncoder(BiEncoder(BagOfVectors(4))).problems()
    assert "model.body=BiEncoder gives no vector of each token" in problem
    assert not list(BiEncoder(BiRecurrent(width=4)).problems())
    with pytest.raises(ValueError, match="model.body.vocab_size is 11"):
        BiEncoder(BODIES["bag"]).filled(7, TIME)
