"""The decoder is causal, reads the whole source, and remembers both."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.bounds import all_problems
from lm_jax.models import EncoderDecoder, EncoderFields, Gated, Learned, Relative
from lm_jax.models.dropout import example_keys
from lm_jax.models.stack import initialise, stack_blocks
from tests.first import first_params
from tests.properties import slow_but

TIME, SOURCE = 6, 5
MODEL = EncoderDecoder(
    layers=2,
    encoder=EncoderFields(layers=1),
    heads=2,
    width=16,
    vocab_size=11,
    positions=Learned(TIME),
    dropout=0.1,
)
T5 = MODEL.clone(
    positions=Relative(4, 6, shared=True),
    norm="rms",
    feedforward=Gated(),
    tied=False,
    qk_norm="head",
    kv_heads=1,
    norm_at="both",
    scan=True,
)
MODELS = {"vaswani": MODEL.clone(norm_at="post", use_bias=True), "t5": T5}
TOKENS = jax.random.randint(jax.random.key(0), (2, TIME), 0, 11)
TEXT = jax.random.randint(jax.random.key(1), (2, SOURCE), 0, 11)
READ = jnp.asarray([[True] * 5, [True] * 3 + [False] * 2])


def reading(model, tokens):
    return model(tokens, source=TEXT)


def parameters(model):
    params = first_params(model, 1, TOKENS, method=reading)
    return jax.tree.map(lambda p: p if (p == 1).all() else p * 10, params)


@partial(jax.jit, static_argnums=0)
def logits(model, params, tokens, source, **more):
    more = {"source_mask": READ} | more
    return model.apply({"params": params}, tokens, source=source, **more)[0]


@pytest.mark.parametrize("name", slow_but(MODELS, "t5"))
def test_what_moves_what(name):
    """Later target tokens nothing, source tokens all, padding nothing."""
    model = MODELS[name]
    params = parameters(model)
    before = logits(model, params, TOKENS, TEXT)
    for place in range(TIME):
        changed = TOKENS.at[0, place].add(1) % 11
        moved = jnp.abs(logits(model, params, changed, TEXT) - before).max(-1)
        assert (moved[0, :place] == 0).all() and (moved[0, place:] > 1e-4).all()
    for place in range(SOURCE):
        changed = TEXT.at[:, place].add(1) % 11
        moved = jnp.abs(logits(model, params, TOKENS, changed) - before).max(-1)
        assert (moved[0] > 1e-4).all()
        assert (moved[1] > 1e-4).all() if READ[1, place] else (moved[1] == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_decoding_from_an_encoded_source_equals_the_whole(name):
    model = MODELS[name]
    variables = {"params": parameters(model)}
    cache = jax.jit(partial(model.apply, method="encode", slots=TIME + 2))(
        variables, TEXT, source_mask=READ
    )
    shapes = jax.eval_shape(lambda: model.empty_cache(2, TIME + 2, SOURCE))
    assert jax.tree.map(jnp.shape, cache) == jax.tree.map(jnp.shape, shapes)
    read, parts = jax.jit(model.apply), []
    for start in range(0, TIME, 2):
        positions = jnp.broadcast_to(jnp.arange(start, start + 2), (2, 2))
        part, cache = read(
            variables, TOKENS[:, start : start + 2], positions=positions, cache=cache
        )
        parts.append(part)
    whole = logits(model, variables["params"], TOKENS, TEXT)
    np.testing.assert_allclose(jnp.concatenate(parts, 1), whole, atol=5e-5)


@pytest.mark.slow
def test_scanned_equals_unrolled():
    noise = example_keys(jax.random.key(2), jnp.arange(2))
    unrolled = T5.clone(scan=False)
    a, b = (parameters(m) for m in (unrolled, T5))
    jax.tree.map(np.testing.assert_array_equal, stack_blocks(a), b)
    for stack, parts in (("encoder", 4), ("decoder", 4)):  # a table of each stack
        assert a[f"{stack}_scores"]["relative"]["embedding"].shape == (parts, 2)
    found = logits(T5, b, TOKENS, TEXT, dropout_keys=noise)
    expected = logits(unrolled, a, TOKENS, TEXT, dropout_keys=noise)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert jnp.abs(found - logits(T5, b, TOKENS, TEXT)).max() > 1e-2


def test_parameters_are_the_transformers():
    """Vaswani et al. 2017, table 3: 65M with 37000 tokens."""
    base = EncoderDecoder(vocab_size=37000, use_bias=True, norm_at="post")
    shapes = jax.eval_shape(
        lambda: initialise(base, jax.random.key(0), TOKENS, method=reading)
    )
    count = sum(p.size for p in jax.tree.leaves(shapes))
    assert 62e6 < count < 66e6


def test_problems_are_named():
    assert not list(MODEL.problems())
    (problem,) = all_problems(MODEL.clone(encoder=EncoderFields(layers=0)), "model")
    assert "model.encoder.layers=0" in problem
