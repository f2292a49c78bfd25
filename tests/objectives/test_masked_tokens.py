"""Masked tokens: what counts is what was hidden, and only that."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_jax.data import Coded
from lm_jax.models import Encoder, MoE, Rotary
from lm_jax.objectives.masked_tokens import MaskedTokens
from tests.properties import slow_but

VOCAB = 11
ENCODER = Encoder(
    layers=1, heads=2, width=16, positions=Rotary(), norm_at="pre", vocab_size=VOCAB
)


class Given(nn.Module):
    """Logits that are the parameters."""

    causal = False
    vocab_size: int = VOCAB

    @nn.compact
    def features(self, tokens, segments=None, dropout_keys=None):
        shape = (*tokens.shape, VOCAB)
        return self.param("logits", nn.initializers.normal(), shape), None

    def logits(self, hidden):
        return hidden


@partial(jax.jit, static_argnums=0)
def sums_of(model, params, batch, key=None):
    return MaskedTokens()(model, params, batch, key)


@jax.jit
def parameters():
    return ENCODER.init(jax.random.key(0), jnp.zeros((1, 8), jnp.int32))["params"]


@pytest.mark.slow
@pytest.mark.parametrize("chosen", slow_but([1, 5], 5))
def test_experts_are_balanced_alike_whatever_is_hidden(chosen):
    """The penalty is a mean over rows, of the same weight beside the nats."""
    batch = batch_of(np.random.default_rng(0), chosen=chosen)
    batch["inputs"] = batch["originals"]

    def loss(balance):
        model = ENCODER.clone(feedforward=MoE(experts=4, balance=balance))
        shape = batch["inputs"][:1]
        params = jax.jit(model.init)(jax.random.key(0), shape)["params"]
        sums = sums_of(model, params, batch, jax.random.key(1))
        return (sums.loss / sums.weight).item()

    assert loss(1.0) - loss(0.0) == pytest.approx(1.0, rel=0.05)


def batch_of(random, rows=3, time=8, chosen=3):
    """Give a batch with as many chosen tokens in each row."""
    targets = random.integers(0, VOCAB, (rows, time))
    places = np.stack([random.permutation(time)[:chosen] for _ in range(rows)])
    mask = np.zeros((rows, time), np.float32)
    np.put_along_axis(mask, places, 1.0, axis=1)
    inputs = np.where(mask > 0, VOCAB - 1, targets)
    arrays = {
        "inputs": inputs,
        "originals": targets,
        "mask": mask,
        "masked_positions": places,
    }
    return {k: jnp.asarray(v) for k, v in arrays.items()} | {"row": jnp.arange(rows)}


@settings(max_examples=10)
@given(seed=st.integers(0, 99), chosen=st.sampled_from([1, 3]))
def test_the_loss_is_the_cross_entropy_at_masked_places(seed, chosen):
    random = np.random.default_rng(seed)
    batch = batch_of(random, chosen=chosen)
    logits = random.normal(size=(3, 8, VOCAB)).astype(np.float32)
    params = {"logits": jnp.asarray(logits)}
    sums = sums_of(Given(), params, batch)
    nats, correct = 0.0, 0
    for row, time in np.argwhere(batch["mask"]):
        scores, target = logits[row, time], int(batch["originals"][row, time])
        nats += np.log(np.exp(scores).sum()) - scores[target]
        correct += scores.argmax() == target
    assert float(sums.loss) == pytest.approx(nats, rel=1e-5)
    assert float(sums.metrics["nats"]) == pytest.approx(nats, rel=1e-5)
    assert float(sums.metrics["correct"]) == correct
    assert float(sums.weight) == 3 * chosen


def test_only_masked_places_have_a_gradient():
    batch = batch_of(np.random.default_rng(0))
    params = {"logits": jnp.zeros((3, 8, VOCAB))}
    gradient = jax.grad(lambda p: sums_of(Given(), p, batch).loss)(params)
    touched = np.abs(gradient["logits"]).sum(-1) > 0
    assert (touched == (np.asarray(batch["mask"]) > 0)).all()


def test_places_that_only_fill_a_row_count_nothing():
    batch = batch_of(np.random.default_rng(0))
    params = {"logits": jax.random.normal(jax.random.key(0), (3, 8, VOCAB))}
    whole = sums_of(Given(), params, batch)
    filled = [
        [t for t in range(8) if t not in row]
        for row in batch["masked_positions"].tolist()
    ]
    places = jnp.concatenate([batch["masked_positions"], jnp.asarray(filled)], axis=1)
    again = sums_of(Given(), params, batch | {"masked_positions": places})
    assert float(again.loss) == pytest.approx(float(whole.loss), rel=1e-6)
    assert float(again.weight) == float(whole.weight)


@pytest.mark.slow
def test_parts_of_a_batch_add_up_with_dropout():
    batch = batch_of(np.random.default_rng(0), rows=4)
    model, key = ENCODER.clone(dropout=0.3), jax.random.key(1)
    params = parameters()
    parts = [
        {k: v[rows] for k, v in batch.items()} for rows in np.array([[0, 2], [1, 3]])
    ]
    whole, *halves = (sums_of(model, params, part, key) for part in (batch, *parts))
    assert float(sum(h.loss for h in halves)) == pytest.approx(float(whole.loss), 1e-5)
    without = sums_of(model, params, batch)
    assert abs(float(without.loss) - float(whole.loss)) > 1e-3


def test_padding_changes_nothing():
    batch = batch_of(np.random.default_rng(0))
    params = parameters()
    short = sums_of(ENCODER, params, batch)
    long = {
        name: jnp.pad(batch[name], ((0, 2), (0, 5)))
        for name in ("inputs", "originals", "mask")
    }
    long["masked_positions"] = jnp.pad(
        batch["masked_positions"], ((0, 2), (0, 1)), constant_values=12
    )
    long["segments"] = jnp.pad(jnp.ones((3, 8), jnp.int32), ((0, 2), (0, 5)))
    padded = sums_of(ENCODER, params, long)
    assert float(padded.loss) == pytest.approx(float(short.loss), rel=1e-5)
    assert float(padded.weight) == float(short.weight)


def test_an_encoder_learns_to_look_to_the_right():
    """Each hidden token is the next one: nothing before it tells which."""
    random, rule = np.random.default_rng(0), optax.adam(1e-2)
    twins = np.repeat(random.integers(0, VOCAB - 1, (64, 4)), 2, axis=1)
    inputs = twins.copy()
    inputs[:, 4] = VOCAB - 1
    batch = {
        "inputs": jnp.asarray(inputs),
        "originals": jnp.asarray(twins),
        "mask": jnp.zeros((64, 8)).at[:, 4].set(1.0),
        "masked_positions": jnp.full((64, 1), 4),
        "row": jnp.arange(64),
    }
    params = parameters()

    @jax.jit
    def step(params, state):
        gradient = jax.grad(lambda p: sums_of(ENCODER, p, batch).loss / 64)(params)
        updates, state = rule.update(gradient, state)
        return optax.apply_updates(params, updates), state

    state = rule.init(params)
    for _ in range(60):
        params, state = step(params, state)
    sums = sums_of(ENCODER, params, batch)
    found = {"weight": float(sums.weight)} | {
        k: float(v) for k, v in sums.metrics.items()
    }
    scores = MaskedTokens().scores(found, Coded())
    assert scores["masked_accuracy"] > 0.9
    assert scores["tokens"] == 64
    assert scores["perplexity"] == pytest.approx(np.exp(scores["loss"]))
