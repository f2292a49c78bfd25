"""A classifier is its body, a vector of the tokens that there are, and one layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.bounds import all_problems
from lm_jax.models import (
    BagOfVectors,
    BiRecurrent,
    Classifier,
    ConvEncoder,
    Encoder,
    First,
    GatedConv,
    Last,
    Learned,
    Max,
    Mean,
    Recurrent,
    Rotary,
    Transformer,
)
from lm_jax.models.stack import initialise, laid_out, unstack_blocks
from tests.first import applied, first_params
from tests.properties import slow_but

VOCAB, TIME = 11, 5
SMALL = {"layers": 2, "heads": 2, "width": 8, "vocab_size": VOCAB}
BODIES = {
    "bag": BagOfVectors(6, vocab_size=VOCAB),
    "encoder": Encoder(**SMALL, positions=Learned(TIME + 3)),
    "rotary": Transformer(**SMALL, positions=Rotary()),
    "transformer": Transformer(**SMALL, positions=Learned(TIME + 3), tied=False),
    "recurrent": Recurrent(layers=2, width=6, vocab_size=VOCAB),
    "both ways": BiRecurrent(layers=2, width=6, vocab_size=VOCAB),
    "convolutional": GatedConv(layers=2, width=8, kernel=3, vocab_size=VOCAB),
}
POOLS = (First(), Last(), Mean(), Max())
TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, VOCAB, (2, TIME)))


def drawn(model):
    """Parameters so large that everything has an effect."""
    shapes = jax.eval_shape(lambda: initialise(model, jax.random.key(0), TOKENS))
    random = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.7 * random.normal(size=leaf.shape), leaf.dtype),
        shapes,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but(BODIES, "bag", "both ways", "transformer"))
def test_where_padding_stands_and_what_it_holds_changes_nothing(name):
    """Left, right and none agree, for every way to pool."""
    left = jnp.pad(TOKENS, ((0, 0), (3, 0)), constant_values=4)
    right = jnp.pad(TOKENS, ((0, 0), (0, 3)), constant_values=7)
    for pool in POOLS:
        model = Classifier(BODIES[name], pool, classes=3)
        params = drawn(model)

        def logits(tokens, segments, model=model, params=params):
            return applied(model, params, tokens, segments=segments)

        whole = logits(TOKENS, None)
        assert np.abs(whole[0] - whole[1]).max() > 1e-2
        for tokens, lasts in ((left, True), (right, False)):
            real = np.arange(TIME + 3) >= 3 if lasts else np.arange(TIME + 3) < TIME
            segments = jnp.broadcast_to(jnp.asarray(real, jnp.int32), tokens.shape)
            found = logits(tokens, segments)
            np.testing.assert_allclose(found, whole, atol=2e-5)


def test_pools_are_their_definitions():
    hidden = jnp.asarray(np.random.default_rng(1).normal(size=(2, 4, 3)), jnp.float32)
    real = jnp.asarray([[0, 1, 1, 0], [1, 1, 1, 1]], bool)
    for pool, of in (
        (First(), lambda rows: rows[0]),
        (Last(), lambda rows: rows[-1]),
        (Mean(), lambda rows: rows.mean(0)),
        (Max(), lambda rows: rows.max(0)),
    ):
        wanted = [of(h[r]) for h, r in zip(hidden, real, strict=True)]
        np.testing.assert_allclose(pool(hidden, real), wanted, rtol=1e-6)
        # A row without tokens fills a batch up: it must not poison the gradient.
        empty = jax.grad(lambda h, p=pool: p(h, jnp.zeros((2, 4), bool)).sum())(hidden)
        assert np.isfinite(empty).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but(BODIES, "recurrent", "encoder"))
def test_the_parameters_are_those_of_the_body_and_one_layer(name):
    """The same paths and first values; nothing that only logits of tokens need."""
    body = BODIES[name]
    model = Classifier(body, classes=3)
    params = initialise(model, jax.random.key(0), TOKENS)
    head = params.pop("class_head")
    assert {k: v.shape[-1] for k, v in head.items()} == {"kernel": 3, "bias": 3}
    alone = initialise(body, jax.random.key(0), TOKENS, method="features")
    alone = {k: v for k, v in alone.items() if not k.startswith("lm_head")}
    jax.tree.map(np.testing.assert_array_equal, params, alone)

    @jax.jit
    def loss(params):
        logits = model.apply({"params": params}, TOKENS)
        return jnp.square(logits + jnp.arange(3.0)).sum()

    gradient = jax.grad(loss)(drawn(model))
    unread = jax.tree.map(lambda g: bool((g == 0).all()), gradient)
    assert not any(jax.tree.leaves(unread))


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but(BODIES, "bag", "rotary"))
@pytest.mark.parametrize("stride", [2, 4])
def test_a_long_text_is_the_mean_of_its_windows(name, stride):
    """However long its row is; each window is read as a text of its own."""
    window, text = 4, jnp.asarray(np.random.default_rng(2).integers(0, VOCAB, 7))
    alone = Classifier(BODIES[name], Mean(), classes=2)
    model = alone.clone(window=window, stride=stride)
    params = drawn(alone)
    parts = [text[k : k + window] for k in range(0, 7 - window + stride, stride)]
    vectors = [applied(alone, params, p[None], method="features")[0] for p in parts]
    for time in (7, 8, 11):
        segments = (jnp.arange(time) < 7).astype(jnp.int32)[None]
        tokens = jnp.pad(text, (0, time - 7), constant_values=3)[None]
        for before in (0, time - 7):
            row = (jnp.roll(each, before, axis=1) for each in (tokens, segments))
            found, _ = applied(model, params, *row, method="features")
            np.testing.assert_allclose(found, sum(vectors) / len(vectors), atol=2e-5)
    short = text[None, :3]
    np.testing.assert_allclose(
        applied(
            model,
            params,
            jnp.pad(short, ((0, 0), (0, 6))),
            (jnp.arange(9)[None] < 3).astype(jnp.int32),
        ),
        applied(alone, params, short),
        atol=2e-5,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but(BODIES, "both ways"))
def test_texts_of_a_pair_are_read_apart_or_as_one(name):
    rows = jnp.asarray(np.random.default_rng(3).integers(0, VOCAB, (1, 7)))
    segments = jnp.asarray([[1, 1, 1, 2, 2, 0, 0]])
    together = Classifier(BODIES[name], Mean(), classes=2)
    apart = together.clone(apart=True)
    params = drawn(together)

    def vector(model, tokens, segments=None):
        return applied(model, params, tokens, segments, method="features")[0]

    u, v = vector(together, rows[:, :3]), vector(together, rows[:, 3:5])
    wanted = jnp.concatenate([u, v, abs(u - v), u * v], axis=-1)
    np.testing.assert_allclose(vector(apart, rows, segments), wanted, atol=2e-5)
    joined = vector(together, rows, segments)
    np.testing.assert_allclose(joined, vector(together, rows[:, :5]), atol=2e-5)


@pytest.mark.parametrize("window", slow_but([None, 4], 4))
def test_an_encoder_is_told_which_text_of_a_pair_a_token_is_of(window):
    body = Encoder(**SMALL, positions=Learned(TIME + 3), segment_types=2)
    model = Classifier(body, Mean(), classes=2, window=window)
    rows = jnp.asarray(np.random.default_rng(3).integers(0, VOCAB, (1, 8)))
    segments = jnp.asarray([[1, 1, 1, 2, 2, 2, 2, 2]])
    params = drawn(model)

    def mean(tokens, types):
        named = {"types": types, "method": "features"}
        return applied(model.body, params, tokens, **named)[0].mean(axis=1)

    parts = [slice(0, 8)] if window is None else [slice(0, 4), slice(4, 8)]
    types = segments - 1
    wanted = [mean(rows[:, part], types[:, part]) for part in parts]
    found = applied(model, params, rows, segments, method="features")[0]
    np.testing.assert_allclose(found, sum(wanted) / len(wanted), atol=2e-5)
    blind = applied(model, params, rows, np.ones((1, 8), int), method="features")
    assert abs(found - blind[0]).max() > 1e-2


def test_windows_drop_independently():
    body = BagOfVectors(6, dropout=0.5, vocab_size=VOCAB)
    model = Classifier(body, Mean(), classes=2, window=3)
    params = drawn(model)
    tokens = jnp.full((9, 6), 4)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), jnp.arange(9))
    seen = {*applied(model, params, tokens, dropout_keys=keys)[:, 0].tolist()}
    # Of two windows of one word, each kept 0 to 3 times: alike, 4 sums; apart, 7.
    assert len(seen) > 4


def test_each_direction_sees_what_lies_on_its_side():
    model = BODIES["both ways"].clone(layers=1)
    params = first_params(model, 0, TOKENS, method="features")
    table = params["embedding"]

    def features(vectors):
        changed = params | {"embedding": vectors}
        tokens = jnp.arange(TIME)[None]
        return model.apply({"params": changed}, tokens, method="features")[0][0]

    found = jax.jit(jax.jacobian(features))(table)
    seen = np.abs(found[:, :, :TIME]).sum(-1) > 0
    forward, backward = seen[:, :6].any(1), seen[:, 6:].any(1)
    np.testing.assert_array_equal(forward, np.tril(np.ones((TIME, TIME), bool)))
    np.testing.assert_array_equal(backward, np.triu(np.ones((TIME, TIME), bool)))


def test_scanned_layers_give_what_written_out_ones_give():
    model = Classifier(BODIES["rotary"], Last(), classes=2)
    scanned = laid_out(model, scan=True)
    params = initialise(scanned, jax.random.key(0), TOKENS)
    written = first_params(model, 0, TOKENS)
    jax.tree.map(np.testing.assert_array_equal, unstack_blocks(params), written)
    np.testing.assert_allclose(
        applied(scanned, params, TOKENS),
        applied(model, written, TOKENS),
        atol=1e-6,
    )


def test_a_body_without_vectors_of_tokens_is_refused():
    [problem] = all_problems(Classifier(ConvEncoder()), "model")
    assert "ConvEncoder is one itself" in problem
    [problem] = all_problems(Classifier(Transformer(heads=5, width=8)), "model")
    assert problem.startswith("model.body.heads=5 doesn't divide model.body.width=8")
    [problem] = all_problems(Classifier(BagOfVectors(), window=4, stride=5), "model")
    assert "leaves out tokens between windows of 4" in problem
    [problem] = all_problems(Classifier(BagOfVectors(), window=4, apart=True), "model")
    assert "reads whole texts" in problem
    with pytest.raises(ValueError, match=r"model.body.vocab_size is 7"):
        Classifier(BagOfVectors(vocab_size=7)).filled(9, 4)
