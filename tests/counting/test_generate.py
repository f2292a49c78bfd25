"""Text that is drawn has the model's distribution."""

import numpy as np
import pytest

from lm_jax.counting import MaximumLikelihood, NGram
from lm_jax.counting.generate import generate
from lm_jax.errors import UserError
from lm_jax.generation import Sampling

IDS = np.array([0, 1, 2, 3, 1, 2, 4, 1, 2, 3, 1, 0])


@pytest.fixture(scope="module")
def model():
    return NGram(3).fit(IDS, 5)


def test_draws_have_the_models_probabilities(model):
    batch = 4000
    prompts = [np.array([3, 1, 2])] * batch
    drawn = generate(model, prompts, 2, Sampling(), seed=0)
    first = model.next_probabilities(np.array([[1, 2]]))[0]
    second = model.next_probabilities(np.stack([np.full(5, 2), np.arange(5)], axis=1))
    for found, wanted in (
        (drawn[:, 0], first),
        (drawn[:, 1], first @ second),
    ):
        shares = np.bincount(found, minlength=5) / batch
        assert abs(shares - wanted).max() < 4 * 0.5 / np.sqrt(batch)


def test_what_cannot_follow_is_not_drawn():
    model = NGram(2, MaximumLikelihood()).fit(IDS, 5)
    text = generate(model, [np.array([0])] * 3, 40, Sampling(), seed=1)
    pairs = set(zip(IDS[:-1], IDS[1:], strict=True))
    assert {(a, b) for row in text for a, b in zip(row, row[1:], strict=False)} <= pairs


def test_greedy_takes_the_likeliest(model):
    text = generate(model, [np.array([0]), np.array([1, 2])], 6, Sampling(0.0), 0)
    for prompt, row in (([0], text[0]), ([1, 2], text[1])):
        tokens = list(prompt)
        for token in row:
            p = model.next_probabilities(np.array([tokens]))
            assert token == p.argmax()
            tokens.append(token)


def test_rows_do_not_depend_on_each_other(model):
    prompts = [np.array([0], np.uint16), np.arange(5), np.array([], int)]
    together = generate(model, prompts, 8, Sampling(top_p=0.9), seed=3)
    assert together.shape == (3, 8)
    for count in (1, 2):
        fewer = generate(model, prompts[:count], 8, Sampling(top_p=0.9), seed=3)
        np.testing.assert_array_equal(fewer, together[:count])
    other = generate(model, prompts, 8, Sampling(top_p=0.9), seed=4)
    assert (other != together).any()


def test_an_empty_order(model):
    assert generate(model, [], 3, Sampling(), 0).shape == (0, 3)
    assert generate(model, [IDS], 0, Sampling(), 0).shape == (1, 0)
    words = NGram(1).fit(IDS, 5)
    assert generate(words, [IDS, IDS[:0]], 4, Sampling(), 0).shape == (2, 4)


def test_mistakes_are_told(model):
    with pytest.raises(UserError, match="length=-1"):
        generate(model, [IDS], -1, Sampling(), 0)
    with pytest.raises(UserError, match="token 5"):
        generate(model, [np.array([5])], 1, Sampling(), 0)
    with pytest.raises(UserError, match="top_k"):
        generate(model, [IDS], 1, Sampling(top_k=0), 0)
