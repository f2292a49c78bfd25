"""Two losses of two texts: each a mean, and padding is in neither."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from lm_jax.bounds import all_problems
from lm_jax.data import Coded
from lm_jax.models import Encoder, Learned
from lm_jax.objectives import Distil, MaskedPairs, MaskedTokens
from tests.objectives.test_fields import CASES, arrays, parameters

OBJECTIVE, MODEL, BATCH = CASES["masked pairs"]


@partial(jax.jit, static_argnums=2)
def sums_of(batch, key=None, model=MODEL):
    return OBJECTIVE(model, parameters("masked pairs"), batch, key)


@pytest.fixture(scope="module")
def pair_logits():
    bound = MODEL.bind({"params": parameters("masked pairs")})
    batch = arrays(BATCH)

    @jax.jit
    def read(batch):
        sides = {name: batch[name] for name in ("segments", "types")}
        return OBJECTIVE.predict(bound, batch)[0][1], bound.features(
            batch["inputs"], **sides
        )[0]

    pairs, hidden = map(np.asarray, read(batch))
    # A layer and tanh of the first token, and another layer.
    p = parameters("masked pairs")
    pooled = np.tanh(hidden[:, 0] @ p["pooler"]["kernel"] + p["pooler"]["bias"])
    wanted = pooled @ p["pair_head"]["kernel"] + p["pair_head"]["bias"]
    np.testing.assert_allclose(pairs, wanted, rtol=1e-4, atol=1e-5)
    return np.asarray(pairs)


def test_the_loss_is_the_mean_of_either_added_up(pair_logits):
    found = sums_of(arrays(BATCH))
    nats = -log_softmax(pair_logits, -1)[[0, 1], BATCH["swapped"]]
    chosen = BATCH["mask"].sum(1)
    assert chosen.tolist() == [3, 2]
    masked = float(found.metrics["nats"])
    assert float(found.loss) == pytest.approx(masked + (nats * chosen).sum(), rel=1e-5)
    right = (pair_logits.argmax(-1) == BATCH["swapped"]).sum()
    metrics = {k: float(v) for k, v in found.metrics.items()}
    assert metrics["pair_nats"] == pytest.approx(nats.sum(), rel=1e-5)
    assert (metrics["pairs"], metrics["pairs_correct"]) == (2, right)
    sums = metrics | {"weight": float(found.weight)}
    scores = OBJECTIVE.scores(sums, Coded())
    assert scores["loss"] == scores["masked_loss"] + scores["pair_loss"]
    assert scores["pair_accuracy"] == right / 2
    assert scores["masked_loss"] == pytest.approx(masked / 5)
    alone = MaskedTokens().scores(sums, Coded())
    assert alone["loss"] == scores["masked_loss"]
    assert alone["masked_accuracy"] == scores["masked_accuracy"]


def test_rows_of_padding_are_no_pairs():
    whole = arrays(BATCH)
    more = {k: jnp.pad(v, [(0, 2)] + [(0, 0)] * (v.ndim - 1)) for k, v in whole.items()}
    one, two = (jax.device_get(sums_of(each)) for each in (whole, more))
    assert float(one.loss) == pytest.approx(float(two.loss), rel=1e-5)
    for name, value in one.metrics.items():
        assert float(value) == pytest.approx(float(two.metrics[name]), rel=1e-5)


@pytest.mark.slow
def test_parts_of_a_batch_add_up_with_dropout():
    model = Encoder(
        **{f: getattr(MODEL, f) for f in ("layers", "heads", "width", "vocab_size")},
        positions=Learned(6),
        segment_types=2,
        dropout=0.3,
    )
    whole, key = arrays(BATCH), jax.random.key(1)
    parts = [{k: v[p::2] for k, v in whole.items()} for p in (0, 1)]
    halves = [float(sums_of(part, key, model).loss) for part in parts]
    assert sum(halves) == pytest.approx(
        float(sums_of(whole, key, model).loss), rel=1e-5
    )


def test_one_vector_cannot_tell_two_texts_apart():
    (problem,) = MaskedPairs().unsuited(Encoder(segment_types=1))
    assert "Give 2" in problem
    for types in (0, 2):
        assert not list(MaskedPairs().unsuited(Encoder(segment_types=types)))


def test_pairs_have_no_teacher():
    (problem,) = all_problems(Distil(MaskedPairs(), "a run"), "objective")
    assert "distil MaskedTokens" in problem
