"""What a teacher adds to a loss: Hinton's formula, for tokens and for classes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lm_jax.kernels import loss as loss_kernel
from lm_jax.models import (
    Classifier,
    Encoder,
    EncoderDecoder,
    Learned,
    Recurrent,
    Rotary,
    Transformer,
)
from lm_jax.objectives import (
    Classify,
    Distil,
    Guide,
    MaskedTokens,
    NextToken,
    Seq2Seq,
)
from lm_jax.objectives.guide import Lesson
from tests.first import first_params
from tests.properties import slow_but

ROWS, TIME, VOCAB, CLASSES = 2, 8, 11, 3
SMALL = {"layers": 1, "width": 16, "vocab_size": VOCAB}
HEADS = SMALL | {"heads": 2, "positions": Rotary()}
LARGE = HEADS | {"width": 24}
TEXTS = Classifier(
    Encoder(**SMALL | {"heads": 2, "positions": Learned(TIME)}), classes=CLASSES
)
# An objective, a student, and a teacher of another size or family.
CASES = {
    "decoder": (NextToken(z_loss=0.1), Transformer(**HEADS), Transformer(**LARGE)),
    "recurrent": (NextToken(), Recurrent(**SMALL), Transformer(**LARGE, tied=False)),
    "masked": (MaskedTokens(), Encoder(**HEADS), Encoder(**LARGE)),
    "seq2seq": (Seq2Seq(), EncoderDecoder(**HEADS), EncoderDecoder(**LARGE)),
    "classes": (Classify(), TEXTS, TEXTS),
}


def batch_of(objective, draw=0):
    rng = np.random.default_rng(draw)
    names = ("inputs", "targets", "originals", "source", "decoder_inputs")
    tokens = rng.integers(0, VOCAB, (5, ROWS, TIME)).astype(np.int32)
    batch = dict(zip(names, tokens, strict=True))
    batch |= {"segments": np.ones((ROWS, TIME), np.int32)}
    batch["masked_positions"] = np.tile(np.arange(0, TIME, 2, dtype=np.int32), (2, 1))
    batch["label"] = rng.integers(0, CLASSES, ROWS)
    batch["mask"] = (np.arange(TIME) < [[TIME], [5]]).astype(np.float32)
    if isinstance(objective, Classify):
        batch["mask"] = np.asarray([1.0, 0.0], np.float32)
    kept = {*objective.reads, "mask", *{"segments"}.intersection(objective.reads)}
    return {n: jnp.asarray(batch[n]) for n in kept} | {"row": jnp.arange(ROWS)}


def made(name):
    """The objective of a case, its student and its teacher, with parameters."""
    objective, student, teacher = CASES[name]
    batch = batch_of(objective)
    one = {field: array[:1] for field, array in batch.items()}
    ours, theirs = (
        jax.tree.map(
            lambda p: 3 * p, first_params(model, seed, one, method=objective.predict)
        )
        for seed, model in enumerate((student, teacher))
    )
    return objective, batch, student, ours, Guide(teacher, theirs)


def value_and_gradient(objective, batch, model, params, guide):
    @jax.jit
    @jax.value_and_grad
    def loss(params, held):
        found = objective(
            model, params, batch, jax.random.key(0), None, guide._replace(params=held)
        )
        return found.loss

    return loss(params, guide.params)


def expected(name, temperature, share):
    """The same by the whole logits of both and optax, padding left out."""
    objective, batch, student, params, guide = made(name)

    def logits(model, params):
        return model.apply(
            {"params": params}, batch, None, None, method=objective.predict
        )[0]

    theirs = logits(guide.model, guide.params)

    @jax.jit
    @jax.value_and_grad
    def loss(params):
        ours = logits(student, params)
        probabilities = jax.nn.softmax(theirs / temperature)
        logs = jax.nn.log_softmax(ours / temperature)
        soft = optax.losses.kl_divergence(logs, probabilities)
        mask = batch["mask"]
        if isinstance(objective, MaskedTokens):
            mask = jnp.take_along_axis(mask, batch["masked_positions"], axis=1)
        hard = objective(student, params, batch, jax.random.key(0)).loss
        return (1 - share) * hard + share * temperature**2 * (soft * mask).sum()

    return loss(params)


def close(found, wanted):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5),
        found,
        wanted,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but(CASES, "decoder"))
def test_the_loss_and_its_gradient_are_those_of_the_whole_logits(name, monkeypatch):
    """Though these are made in four pieces."""
    objective, *rest = made(name)
    monkeypatch.setattr(loss_kernel, "PIECE", VOCAB * ROWS * TIME // 4)
    taught = Distil(objective, temperature=3.0, share=0.7)
    close(value_and_gradient(taught, *rest), expected(name, 3.0, 0.7))


@pytest.mark.parametrize("temperature", [0.5, 2.0, 7.0])
def test_the_divergence_is_torchs(temperature):
    torch = pytest.importorskip("torch")
    draw = np.random.default_rng(0)
    ours, theirs = (draw.normal(size=(3, 5, VOCAB)) * 4 for _ in range(2))
    mask = (draw.random((3, 5)) < 0.7).astype(np.float32)
    lesson = Lesson(Guide(None, None), temperature, 1.0)
    found = jax.value_and_grad(
        lambda x: lesson.mixed(jnp.zeros(()), x, jnp.asarray(theirs), jnp.asarray(mask))
    )(jnp.asarray(ours))
    x = torch.tensor(ours, requires_grad=True)
    nats = torch.nn.functional.kl_div(
        torch.log_softmax(x / temperature, -1),
        torch.softmax(torch.tensor(theirs) / temperature, -1),
        reduction="none",
    ).sum(-1)
    loss = temperature**2 * (nats * torch.tensor(mask)).sum()
    loss.backward()
    close(found, (loss.item(), x.grad.numpy()))


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but(["decoder", "classes"], "classes"))
def test_a_student_that_is_its_teacher_learns_nothing_of_it(name):
    objective, batch, model, params, _ = made(name)
    taught = Distil(objective, temperature=2.0, share=1.0)
    loss, gradient = value_and_gradient(
        taught, batch, model, params, Guide(model, params)
    )
    assert abs(float(loss)) < 1e-5
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(gradient)) < 1e-5


def test_at_a_high_temperature_logits_are_matched_by_their_squares():
    """The limit of T^2 KL is half the variance of the difference (Hinton, eq. 4)."""
    ours, theirs = (jax.random.normal(jax.random.key(k), (4, VOCAB)) for k in (0, 1))
    lesson, mask = Lesson(Guide(None, None), 300.0, 1.0), jnp.ones(4)
    found = jax.value_and_grad(lambda x: lesson.mixed(jnp.zeros(()), x, theirs, mask))(
        ours
    )
    apart = ours - theirs
    apart = apart - apart.mean(-1, keepdims=True)
    limit = jnp.square(apart).mean(-1).sum() / 2
    np.testing.assert_allclose(found[0], limit, rtol=2e-2)
    np.testing.assert_allclose(found[1], apart / VOCAB, rtol=2e-2, atol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["decoder", "classes"])
def test_padding_counts_in_neither_part(name):
    objective, batch, *rest = made(name)
    taught = Distil(objective, temperature=2.0, share=0.5)
    whole = value_and_gradient(taught, batch, *rest)
    other = batch_of(objective, draw=1)
    changed = dict(batch)
    for field in {"inputs", "targets", "label", "segments"}.intersection(batch):
        seen = batch["mask"] > 0
        seen = seen.reshape(seen.shape + (1,) * (batch[field].ndim - seen.ndim))
        changed[field] = jnp.where(seen, batch[field], other[field])
    assert any((changed[field] != batch[field]).any() for field in batch)
    close(value_and_gradient(taught, changed, *rest), whole)


def test_scores_are_those_of_the_model_alone():
    objective, batch, model, params, guide = made("decoder")
    alone = objective(model, params, batch, None)
    taught = Distil(objective, share=1.0)(model, params, batch, None, None, guide)
    jax.tree.map(np.testing.assert_array_equal, alone, taught)
