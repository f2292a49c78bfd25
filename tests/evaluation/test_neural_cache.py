"""The neural cache: equal to a loop over tokens, and a probability."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.data import Coded
from lm_jax.errors import UserError
from lm_jax.evaluation.neural_cache import (
    NeuralCache,
    empty_cache_carry,
    make_cache_step,
)
from lm_jax.models import LSTM, GatedConv, Recurrent
from lm_jax.objectives import NextToken
from lm_jax.training.step import make_evaluation_step

VOCAB, TIME = 5, 4
MODEL = Recurrent(LSTM(), layers=1, width=6, vocab_size=VOCAB, range=1.0)


def params_of(model: Any) -> Any:
    tokens = jnp.zeros((1, 2), jnp.int32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), tokens)["params"]
    draw = np.random.default_rng(0).normal
    return jax.tree.map(lambda p: draw(0, 0.5, p.shape).astype(np.float32), shapes)


def stream(lanes: int, segments: int, seed: int = 0) -> np.ndarray:
    shape = (lanes, segments * TIME + 1)
    return np.random.default_rng(seed).integers(0, VOCAB, shape, np.int32)


def batches(ids: np.ndarray, ragged: tuple[int, ...] = ()) -> list[dict]:
    """Segments of lanes; ``ragged`` says how many tokens of the last are real."""
    made = []
    for start in range(0, ids.shape[1] - 1, TIME):
        batch = {
            "inputs": ids[:, start : start + TIME],
            "targets": ids[:, start + 1 : start + TIME + 1],
            "mask": np.ones((len(ids), TIME), np.float32),
            "starts": np.full(len(ids), start == 0, np.int32),
        }
        made.append(batch)
    if ragged:
        real = np.arange(TIME) < np.array(ragged)[:, None]
        made[-1]["mask"] = real.astype(np.float32)
    return made


def run(step, params, batches, carry):
    step, found = jax.jit(step), []
    for batch in batches:
        sums, carry = step(params, batch, carry)
        found.append({name: float(value) for name, value in sums.items()})
    return found, carry


def one_by_one(model, params, ids, cache) -> list[float]:
    """Probabilities of one lane's tokens, by the paper's sums."""
    apply = jax.jit(model.apply, static_argnames="method")
    hidden, _ = apply({"params": params}, ids[None, :-1], method="features")
    logits = apply({"params": params}, hidden, method="logits")
    from_model = np.exp(np.asarray(logits[0], np.float64))
    from_model /= from_model.sum(-1, keepdims=True)
    features = np.asarray(hidden[0], np.float64)
    found, pairs = [], []
    for h, p, word in zip(features, from_model, ids[1:], strict=True):
        if pairs:
            likes = [np.exp(cache.theta * h @ other) for other, _ in pairs]
            right = [
                like for like, (_, w) in zip(likes, pairs, strict=True) if w == word
            ]
            share = sum(right) / sum(likes)
            found.append((1 - cache.weight) * p[word] + cache.weight * share)
        else:
            found.append(p[word])
        pairs = [*pairs, (h, word)][-cache.size :]
    return found


@pytest.mark.parametrize(
    ("model", "size"),
    [(MODEL, 1), (MODEL, 6), (MODEL, 100), (GatedConv(2, 6, 3, vocab_size=VOCAB), 3)],
)
def test_equals_a_loop_over_tokens(model, size):
    cache = NeuralCache(size=size, theta=1.5, weight=0.3)
    params, ids = params_of(model), stream(2, 3)
    carry = empty_cache_carry(model, params, cache, 2)
    found, carry = run(make_cache_step(model, cache), params, batches(ids), carry)
    nats = -np.log([one_by_one(model, params, lane, cache) for lane in ids])
    wanted = nats.reshape(2, -1, TIME).sum((0, 2))
    np.testing.assert_allclose([sums["nats"] for sums in found], wanted, rtol=1e-5)
    assert [sums["weight"] for sums in found] == [2 * TIME] * 3
    assert carry.words.tolist() == [
        [0] * max(0, size - 3 * TIME) + list(lane[1:][-size:]) for lane in ids
    ]


def test_weight_0_is_the_plain_evaluation():
    params, ids = params_of(MODEL), stream(3, 2)
    cache = NeuralCache(size=5, weight=0.0)
    parts = batches(ids, ragged=(4, 2, 0))
    found, _ = run(
        make_cache_step(MODEL, cache),
        params,
        parts,
        empty_cache_carry(MODEL, params, cache, 3),
    )
    plain, _ = run(
        make_evaluation_step(MODEL, NextToken()),
        params,
        parts,
        MODEL.empty_cache(3, 0),
    )
    for a, b in zip(found, plain, strict=True):
        assert a == pytest.approx(b, rel=1e-6)
    scores = NextToken().scores(found[0], Coded(bytes=10))
    assert scores["loss"] == pytest.approx(found[0]["nats"] / 12)


def test_probabilities_sum_to_one():
    params, ids = params_of(MODEL), stream(1, 2)
    cache = NeuralCache(size=6, theta=0.5, weight=0.6)
    step = jax.jit(make_cache_step(MODEL, cache))
    first, second = batches(ids)
    empty = empty_cache_carry(MODEL, params, cache, 1)
    _, carry = step(params, first, empty)
    for place in range(TIME):
        # The nats of the tokens before this one, and with it for each word.
        masks = [(np.arange(TIME) < place + k)[None].astype(np.float32) for k in (0, 1)]
        before, _ = step(params, second | {"mask": masks[0]}, carry)
        total = 0.0
        for word in range(VOCAB):
            targets = second["targets"].copy()
            targets[0, place] = word
            chosen = second | {"targets": targets, "mask": masks[1]}
            sums, _ = step(params, chosen, carry)
            total += np.exp(before["nats"] - sums["nats"])
        assert total == pytest.approx(1.0, abs=1e-5)


def test_padding_is_not_remembered_and_a_start_forgets():
    params, ids = params_of(MODEL), stream(2, 2)
    cache = NeuralCache(size=5)
    step = jax.jit(make_cache_step(MODEL, cache))
    parts = batches(ids, ragged=(2, 0))
    empty = empty_cache_carry(MODEL, params, cache, 2)
    _, carry = run(step, params, parts, empty)
    assert carry.stored.tolist() == [5, 4]
    assert carry.words[0].tolist() == ids[0, 2:7].tolist()
    assert carry.words[1, 1:].tolist() == ids[1, 1:5].tolist()
    again, _ = step(params, parts[0], carry)
    anew, _ = step(params, parts[0], empty)
    assert float(again["nats"]) == float(anew["nats"])


def test_what_was_read_becomes_likelier():
    params = params_of(MODEL)
    ids = np.tile(np.array([[0, 3, 1]], np.int32), (1, 5))[:, : 3 * TIME + 1]
    losses = []
    for weight in (0.0, 0.5):
        cache = NeuralCache(size=20, weight=weight)
        carry = empty_cache_carry(MODEL, params, cache, 1)
        found, _ = run(make_cache_step(MODEL, cache), params, batches(ids), carry)
        losses.append(found[-1]["nats"])
    assert losses[1] < losses[0]


@pytest.mark.parametrize(
    ("field", "value"), [("size", 0), ("theta", -1.0), ("weight", 1.0)]
)
def test_what_is_no_cache_is_refused(field, value):
    with pytest.raises(UserError, match=f"cache.{field}={value}"):
        NeuralCache(**{field: value})
