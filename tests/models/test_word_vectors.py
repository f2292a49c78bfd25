"""Tables of vectors: their first values, what is kept, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np

from lm_jax.bounds import all_problems
from lm_jax.models.stack import initialise
from lm_jax.models.word_vectors import GlobalVectors, WordVectors

TOKENS = jnp.zeros((1, 2), jnp.int32)


def test_first_values_are_word2vecs():
    params = initialise(WordVectors(10, vocab_size=500), jax.random.key(0), TOKENS)
    assert {name: p.shape for name, p in params.items()} == {
        "embedding": (500, 10),
        "output": (500, 10),
    }
    assert not params["output"].any()
    first = np.array(params["embedding"])
    assert np.abs(first).max() <= 0.05
    np.testing.assert_allclose(first.std(), 0.1 / 12**0.5, rtol=0.05)


def test_the_vectors_to_keep():
    model = WordVectors(3, vocab_size=4)
    params = initialise(model, jax.random.key(0), TOKENS)
    kept = model.apply({"params": params}, method="vectors")
    np.testing.assert_array_equal(kept, params["embedding"])
    words = jnp.array([[3, 1]])
    found = model.apply({"params": params}, words)
    np.testing.assert_array_equal(found, kept[words])


def test_glove_keeps_the_sum_and_predicts_by_the_parts():
    model = GlobalVectors(3, vocab_size=4)
    params = initialise(model, jax.random.key(0), TOKENS)
    w, c = np.array(params["embedding"]), np.array(params["context"])
    kept = model.apply({"params": params}, method="vectors")
    np.testing.assert_allclose(kept, w + c, rtol=1e-6)
    i, j = jnp.array([2, 0]), jnp.array([1, 3])
    found = model.apply({"params": params}, i, j, method="log_counts")
    bias, context_bias = np.array(params["bias"]), np.array(params["context_bias"])
    expected = (w[i] * c[j]).sum(1) + bias[i] + context_bias[j]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_problems():
    assert list(WordVectors(2, vocab_size=2).problems()) == []
    (width,) = all_problems(WordVectors(0, vocab_size=2), "model")
    assert "model.width=0" in width
    (words,) = GlobalVectors(2, vocab_size=1).problems()
    assert "2 words or more" in words
