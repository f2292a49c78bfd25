"""What classifiers are kept back by in training, and that no score is of it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_softmax, rel_entr, softmax

from lm_jax.bounds import all_problems
from lm_jax.data import Labelled
from lm_jax.errors import UserError
from lm_jax.evaluation import Likelihood
from lm_jax.experiment import Execution, Experiment
from lm_jax.models import (
    BagOfVectors,
    BiRecurrent,
    Classifier,
    Dropouts,
    Elman,
    Learned,
    Max,
    Recurrent,
    Transformer,
)
from lm_jax.models.dropout import example_keys
from lm_jax.objectives import Classify, Distil, NextToken
from lm_jax.objectives.regularised import divergence, mixing, second
from lm_jax.optimizers import AdamW
from lm_jax.schedules import Constant
from lm_jax.training.checks import check_devices
from tests.first import first_params

VOCAB, CLASSES, ROWS, TIME = 11, 3, 6, 5
RANDOM = np.random.default_rng(0)
BATCH = {
    "inputs": jnp.asarray(RANDOM.integers(0, VOCAB, (ROWS, TIME))),
    "segments": jnp.asarray((np.arange(TIME) < [[5], [4], [5], [3], [2], [1]]) * 1),
    "label": jnp.asarray([0, 2, 1, 1, 0, 2]),
    "mask": jnp.asarray([1.0, 1, 1, 1, 1, 0]),
    "row": jnp.arange(ROWS),
}
MODEL = Classifier(BagOfVectors(4, vocab_size=VOCAB), dropout=0.4, classes=CLASSES)
PARAMS = first_params(MODEL, 0, BATCH, method=Classify().predict)
PARAMS = jax.tree.map(lambda p: 3.0 * p + 0.1, PARAMS)
KEY = jax.random.key(3)


@partial(jax.jit, static_argnums=(0, 1))
def sums_of(objective, model, batch, key, params=PARAMS):
    return objective(model, params, batch, key)


def loss(objective, model=MODEL, batch=BATCH, key=KEY):
    return float(sums_of(objective, model, batch, key).loss)


def vectors(key, model=MODEL, batch=BATCH):
    keys = example_keys(key, batch["row"])
    arrays = batch["inputs"], batch["segments"], keys
    return np.asarray(model.apply({"params": PARAMS}, *arrays, method="features")[0])


def scored(vector):
    head = PARAMS["class_head"]
    return vector @ np.asarray(head["kernel"]) + np.asarray(head["bias"])


def nats_of(logits, labels, smoothing=0.0):
    whole = np.eye(CLASSES)[labels] * (1 - smoothing) + smoothing / CLASSES
    return -(whole * log_softmax(logits, -1)).sum(-1)


@pytest.mark.parametrize(
    "objective",
    [Classify(label_smoothing=0.2), Classify(r_drop=2.0), Classify(mixup=0.5)],
)
def test_scores_are_the_plain_ones(objective):
    plain, own = (sums_of(o, MODEL, BATCH, None) for o in (Classify(), objective))
    assert float(own.loss) == float(plain.loss)
    assert jax.device_get(own.metrics) == jax.device_get(plain.metrics)
    assert abs(loss(objective) - loss(Classify())) > 1e-2


def test_labels_are_smoothed_over_the_classes():
    logits, mask = scored(vectors(KEY)), np.asarray(BATCH["mask"])
    wanted = (nats_of(logits, BATCH["label"], 0.2) * mask).sum()
    assert loss(Classify(label_smoothing=0.2)) == pytest.approx(wanted, rel=1e-5)


def test_next_tokens_are_smoothed_over_the_vocabulary():
    model = Transformer(
        layers=1, heads=2, width=8, positions=Learned(TIME), vocab_size=VOCAB
    )
    batch = {name: BATCH[name] for name in ("inputs", "row")}
    batch["targets"] = jnp.roll(BATCH["inputs"], -1, 1)
    batch["mask"] = (BATCH["segments"] > 0).astype(jnp.float32)
    params = first_params(model, 0, batch, method=NextToken().predict)
    params = jax.tree.map(lambda p: 3.0 * p, params)
    logits = jax.jit(
        lambda batch: NextToken().predict(model.bind({"params": params}), batch)[0]
    )(batch)
    labels = optax.smooth_labels(jax.nn.one_hot(batch["targets"], VOCAB), 0.1)
    wanted = (optax.softmax_cross_entropy(logits, labels) * batch["mask"]).sum()
    objective = NextToken(label_smoothing=0.1)
    smoothed = sums_of(objective, model, batch, KEY, params).loss
    assert float(smoothed) == pytest.approx(float(wanted), rel=1e-5)
    scores = (sums_of(o, model, batch, None, params) for o in (NextToken(), objective))
    assert len({float(score.loss) for score in scores}) == 1


def test_the_divergence_is_the_mean_of_both():
    p, q = (RANDOM.normal(size=(4, CLASSES)).astype(np.float32) * 3 for _ in range(2))
    both = rel_entr(softmax(p, -1), softmax(q, -1)).sum(-1)
    both += rel_entr(softmax(q, -1), softmax(p, -1)).sum(-1)
    p, q = jnp.asarray(p), jnp.asarray(q)
    np.testing.assert_allclose(divergence(p, q), both / 2, rtol=1e-4)
    assert (np.asarray(divergence(p, p)) == 0).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_two_passes_are_drawn_together(smoothing):
    """The mean of their losses, and how far they are apart."""
    one, two = scored(vectors(KEY)), scored(vectors(second(KEY)))
    assert np.abs(one - two).max() > 0.1
    nats = sum(nats_of(each, BATCH["label"], smoothing) for each in (one, two)) / 2
    p, q = softmax(one, -1), softmax(two, -1)
    apart = (rel_entr(p, q) + rel_entr(q, p)).sum(-1) / 2
    wanted = ((nats + 1.5 * apart) * np.asarray(BATCH["mask"])).sum()
    objective = Classify(label_smoothing=smoothing, r_drop=1.5)
    assert loss(objective) == pytest.approx(wanted, rel=1e-4)
    # Without dropout both passes are one.
    still = MODEL.clone(dropout=0.0)
    assert loss(objective, still) == pytest.approx(
        loss(Classify(label_smoothing=smoothing), still), rel=1e-5
    )


def test_parts_of_a_batch_add_up_with_two_passes():
    parts = [{k: v[p::2] for k, v in BATCH.items()} for p in (0, 1)]
    halves = [loss(Classify(r_drop=2.0), batch=part) for part in parts]
    assert sum(halves) == pytest.approx(loss(Classify(r_drop=2.0)), rel=1e-5)


def test_texts_are_mixed_with_the_next_and_so_are_their_losses():
    keys = example_keys(KEY, BATCH["row"])
    other, share = map(np.asarray, mixing(BATCH["mask"], keys, 0.5))
    assert other.tolist() == [1, 2, 3, 4, 0, 0]
    own, label, wanted = vectors(KEY), np.asarray(BATCH["label"]), 0.0
    for row in range(5):
        mixed = share[row] * own[row] + (1 - share[row]) * own[other[row]]
        for part, of in ((share[row], row), (1 - share[row], other[row])):
            wanted += part * nats_of(scored(mixed)[None], label[of : of + 1])[0]
    assert loss(Classify(mixup=0.5)) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.slow
def test_shares_are_drawn_as_asked_and_padding_moves_none():
    keys = example_keys(KEY, jnp.arange(4000))
    for alpha in (0.4, 3.0):
        share = np.asarray(mixing(jnp.ones(4000), keys, alpha)[1])
        assert share.mean() == pytest.approx(0.5, abs=0.03)
        assert share.var() == pytest.approx(1 / (8 * alpha + 4), abs=0.01)
    more = {k: jnp.pad(v, [(0, 2)] + [(0, 0)] * (v.ndim - 1)) for k, v in BATCH.items()}
    more["row"] = jnp.arange(ROWS + 2)
    few = {k: v[: ROWS - 1] for k, v in BATCH.items()}
    found = [loss(Classify(mixup=0.5), batch=each) for each in (few, BATCH, more)]
    assert found == pytest.approx([found[0]] * 3, rel=1e-5)


def test_penalties_are_means_over_the_windows_of_each_text():
    body = Recurrent(width=4, layers=1, vocab_size=VOCAB, activation_penalty=1.0)
    batch = BATCH | {"segments": jnp.ones((ROWS, TIME), jnp.int32)}
    whole = Classifier(body, classes=CLASSES)
    params = first_params(whole, 0, batch, method=Classify().predict)

    def loss(penalty):
        model = whole.clone(body=body.clone(activation_penalty=penalty), window=3)
        return sums_of(Classify(), model, batch, KEY, params).loss

    @jax.jit
    def squares(tokens):
        hidden, _ = whole.body.apply({"params": params}, tokens, method="features")
        return jnp.square(hidden).mean((1, 2))

    windows = squares(batch["inputs"][:, :3]), squares(batch["inputs"][:, 3:])
    wanted = (sum(windows) / 2 * batch["mask"]).sum()
    np.testing.assert_allclose(loss(1.0) - loss(0.0), wanted, rtol=1e-3)


def test_what_makes_no_sense_is_refused():
    for fields, said in (
        ({"label_smoothing": 1.0}, "objective.label_smoothing=1.0"),
        ({"r_drop": -1.0}, "objective.r_drop=-1.0"),
        ({"mixup": -0.1}, "objective.mixup=-0.1"),
        ({"r_drop": 1.0, "mixup": 0.1}, "use one of them"),
    ):
        (problem,) = all_problems(Classify(**fields), "objective")
        assert said in problem


def test_two_passes_need_dropout_somewhere_in_the_model():
    dry = Classifier(BiRecurrent(width=8), Max())
    wet = dry.clone(body=BiRecurrent(width=8, dropout=Dropouts(weight=0.1)))
    for objective in (Classify(r_drop=1.0), Distil(Classify(r_drop=1.0), "teacher")):
        (problem,) = objective.unsuited(dry)
        assert "--model.dropout" in problem
        assert not list(objective.unsuited(wet))
        assert not list(objective.unsuited(dry.clone(dropout=0.1)))
    assert not list(Classify().unsuited(dry))


def test_a_batch_in_which_texts_meet_has_no_parts():
    def experiment(**fields):
        return Experiment(
            data=Labelled(),
            model=MODEL,
            objective=Classify(**fields),
            optimizer=AdamW(),
            schedule=Constant(1e-3),
            batch=8,
            budget="2 steps",
            evaluations={"likelihood": Likelihood("1 step")},
            execution=Execution(accumulate=2),
        )

    devices = jax.devices()[:1]
    check_devices(experiment(r_drop=1.0), devices)
    with pytest.raises(UserError, match="objective.mixup lets rows .* --accumulate 2"):
        check_devices(experiment(mixup=0.2), devices)
    assert Distil(Classify(mixup=0.2)).across_rows == "of.mixup"
    assert Distil(Classify(r_drop=0.2)).across_rows == ""


def test_windows_without_text_are_not_penalised():
    """The rows of a batch are as long as its longest text."""
    body = Recurrent(Elman(), 1, 4, vocab_size=VOCAB, activation_penalty=1.0)
    model = Classifier(body, classes=CLASSES, window=2)
    batch = BATCH | {"mask": jnp.ones(ROWS)}
    params = first_params(model, 0, batch, method=Classify().predict)

    @jax.jit
    def penalty(batch):
        one, other = (
            Classify()(model.clone(body=each), params, batch, KEY).loss
            for each in (body, body.clone(activation_penalty=0.0))
        )
        return one - other

    apart = []
    for row, length in enumerate((5, 4, 5, 3, 2, 1)):
        alone = {name: array[row : row + 1] for name, array in batch.items()}
        cut = {name: alone[name][:, :length] for name in ("inputs", "segments")}
        apart.append(penalty(alone | cut))
    np.testing.assert_allclose(penalty(batch), sum(apart), rtol=1e-4)
    assert min(apart) > 0
