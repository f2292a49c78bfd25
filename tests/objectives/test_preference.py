"""Preference is Rafailov's equation 7, by the log-probabilities of whole answers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.kernels import loss as loss_kernel
from lm_jax.models import Recurrent, Rotary, Transformer
from lm_jax.objectives import Guide, Preference
from tests.first import applied, first_params

ROWS, TIME, VOCAB = 3, 8, 11
MODEL = Transformer(
    layers=1, heads=2, width=16, vocab_size=VOCAB, positions=Rotary(), tied=False
)
REFERENCE = Recurrent(width=12, vocab_size=VOCAB)
OBJECTIVE = Preference(beta=0.3)


def batch(draw=0):
    rng = np.random.default_rng(draw)
    mask = np.zeros((ROWS, 2, TIME), np.float32)
    mask[0, 0, 3:6] = mask[0, 1, 3:8] = mask[1, 0, 1:8] = mask[1, 1, 1:2] = 1
    tokens = rng.integers(0, VOCAB, (2, ROWS, 2, TIME)).astype(np.int32)
    made = {"pair_inputs": tokens[0], "pair_targets": tokens[1], "pair_mask": mask}
    return {name: jnp.asarray(array) for name, array in made.items()} | {
        "row": jnp.arange(ROWS)
    }


def params_of(model, seed):
    one = {field: array[:1] for field, array in batch().items()}
    params = first_params(model, seed, one, method=OBJECTIVE.predict)
    return jax.tree.map(lambda p: 5 * p, params)


PARAMS, GUIDE = params_of(MODEL, 0), Guide(REFERENCE, params_of(REFERENCE, 1))


def summed(params, given, key=None, guide=GUIDE):
    return OBJECTIVE(MODEL, params, given, key, None, guide)


def at_once(params, given):
    return jax.jit(summed)(params, given)  # traced anew: tests change the pieces


def likely(model, params, given):
    """The log-probability of each answer, in numpy of the whole logits."""
    tokens = given["pair_inputs"].reshape(-1, TIME)
    logits = np.float64(applied(model, params, tokens)[0])
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    targets = np.asarray(given["pair_targets"]).reshape(-1, TIME)
    each = np.take_along_axis(logs, targets[..., None], -1)[..., 0]
    return (each.reshape(ROWS, 2, TIME) * given["pair_mask"]).sum(-1)


@pytest.mark.parametrize("pieces", [1, 4])
def test_the_sums_are_those_of_the_equation(pieces, monkeypatch):
    monkeypatch.setattr(loss_kernel, "PIECE", 2 * VOCAB * ROWS * TIME // pieces)
    given = batch()
    found = at_once(PARAMS, given)
    ratio = likely(MODEL, PARAMS, given) - likely(*GUIDE, given)
    margin = 0.3 * (ratio[:, 0] - ratio[:, 1])[:2]  # the third pair is padding
    assert np.abs(margin).min() > 0.01
    assert float(found.weight) == 2
    np.testing.assert_allclose(found.loss, np.log1p(np.exp(-margin)).sum(), rtol=1e-4)
    np.testing.assert_allclose(found.metrics["margin"], margin.sum(), rtol=1e-4)
    assert float(found.metrics["correct"]) == (margin > 0).sum()


def test_pieces_give_the_gradient_of_the_whole(monkeypatch):
    def gradient():
        key = jax.random.key(0)
        return jax.jit(jax.grad(lambda p, b: summed(p, b, key).loss))(PARAMS, batch())

    whole = gradient()
    monkeypatch.setattr(loss_kernel, "PIECE", 2 * VOCAB * ROWS * TIME // 4)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        gradient(),
        whole,
    )
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(whole)) > 1e-2


def test_from_the_reference_the_loss_is_log_2_and_no_pair_is_told_apart():
    found = summed(PARAMS, batch(), guide=Guide(MODEL, PARAMS))
    np.testing.assert_allclose(found.loss, 2 * np.log(2), rtol=1e-6)
    assert float(found.metrics["correct"]) == 1.0  # half of each pair


def test_the_gradient_makes_the_chosen_answers_likelier():
    given = batch()
    gradient = jax.jit(jax.grad(lambda p: summed(p, given).loss))(PARAMS)
    stepped = jax.tree.map(lambda p, g: p - 1e-3 * g, PARAMS, gradient)
    before, after = (likely(MODEL, p, given)[:2] for p in (PARAMS, stepped))
    change = after - before
    assert (change[:, 0] - change[:, 1] > 1e-3).all()


def test_what_stands_outside_the_answers_is_only_read():
    """Other targets there change nothing; another prompt does."""
    given, other = batch(), batch(1)
    outside = given["pair_mask"] == 0
    targets = jnp.where(outside, other["pair_targets"], given["pair_targets"])
    assert (targets != given["pair_targets"]).any()
    whole = at_once(PARAMS, given)
    jax.tree.map(
        np.testing.assert_array_equal,
        at_once(PARAMS, given | {"pair_targets": targets}),
        whole,
    )
    prompt = given["pair_inputs"].at[0, :, 0].add(1) % VOCAB
    changed = summed(PARAMS, given | {"pair_inputs": prompt})
    assert abs(float(changed.loss - whole.loss)) > 1e-3
