"""What is written from a source: ragged, cached, in any company."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.errors import UserError
from lm_jax.generation import Beam, Sampling, continue_prompts
from lm_jax.models import EncoderDecoder, EncoderFields, Learned, Relative
from tests.first import first_params

VOCAB, CONTEXT, START = 11, 8, 10
GREEDY, DRAWN = Sampling(temperature=0.0), Sampling(temperature=1.5)
MODEL = EncoderDecoder(
    layers=2,
    encoder=EncoderFields(layers=1),
    heads=2,
    width=16,
    vocab_size=VOCAB,
    positions=Learned(CONTEXT),
    norm_at="post",
    tied=False,
)
MODELS = {
    "vaswani": MODEL,
    "scanned t5": MODEL.clone(
        positions=Relative(4, 6, shared=True), norm="rms", norm_at="pre", scan=True
    ),
}
SOURCES = [
    np.random.default_rng(length).integers(1, VOCAB - 1, length)
    for length in (1, 3, CONTEXT, 2 * CONTEXT)
]


def parameters(model):
    tokens = jnp.zeros((1, 4), jnp.int32)
    params = first_params(
        model, 3, tokens, method=lambda m, tokens: m(tokens, source=tokens)
    )
    return jax.tree.map(lambda p: p * 4 if p.ndim > 1 else p, params)


def written(model, params, sources, length, sampling=GREEDY, **how):
    prompts = [np.array([START])] * len(sources)
    return continue_prompts(
        *(model, params, prompts, length, CONTEXT, sampling, 0), sources=sources, **how
    )


def without_memory(model, params, source, length):
    """The likeliest tokens, reading everything anew for each.

    A text is filled up behind, which no token sees: one shape is compiled.
    """

    @jax.jit
    def read(text):
        source_of = jnp.asarray(source[:CONTEXT])[None]
        return model.apply({"params": params}, text[None], source=source_of)[0][0]

    text = [START]
    for _ in range(length):
        logits = read(np.pad(text, (0, CONTEXT - len(text))))
        text.append(int(logits[len(text) - 1].argmax()))
        # A full window goes on with its last half.
        text = text if len(text) <= CONTEXT else text[-CONTEXT // 2 :]
        yield text[-1]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_with_cache_equals_without(name):
    """Sources of any length in one batch, targets of several windows."""
    model = MODELS[name]
    params, length = parameters(model), 2 * CONTEXT
    rows = written(model, params, SOURCES, length)
    for source, (row,) in zip(SOURCES, rows, strict=True):
        assert row.tokens.tolist() == [*without_memory(model, params, source, length)]
    assert len({tuple(row.tokens.tolist()) for (row,) in rows}) > 2


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_target_ends_and_does_not_depend_on_those_beside_it(name):
    model = MODELS[name]
    params, length = parameters(model), 3 * CONTEXT
    ((free,), *_) = written(model, params, SOURCES, 4)
    end, endings = int(free.tokens[-1]), set()
    hows = {"sampling": DRAWN}, {"beam": Beam(3, best=3)}, {"beam": Beam(1)}
    for how in hows:
        together = written(model, params, SOURCES, length, end=end, **how)
        for number, (source, row) in enumerate(zip(SOURCES, together, strict=True)):
            (alone,) = written(
                model, params, [source], length, end=end, numbers=[number], **how
            )
            for one, other in zip(alone, row, strict=True):
                assert one.tokens.tolist() == other.tokens.tolist()
                assert end not in one.tokens[:-1]
                assert one.ended == (one.tokens[-1] == end)
                assert one.ended or len(one.tokens) == length
                endings.add(one.ended)
    assert endings == {True, False} or len({len(row[0].tokens) for row in together}) > 1
    greedy = written(model, params, SOURCES, length, end=end)
    for (one,), (other,) in zip(greedy, together, strict=True):
        assert one.tokens.tolist() == other.tokens.tolist()


@pytest.mark.slow
def test_what_the_tokenizer_lacks_is_never_written():
    params = parameters(MODEL)
    for how in ({}, {"sampling": DRAWN}, {"beam": Beam(4, best=4)}):
        free = written(MODEL, params, SOURCES, 12, **how)
        known = written(MODEL, params, SOURCES, 12, known=4, **how)
        assert max(one.tokens.max() for row in free for one in row) >= 4
        assert max(one.tokens.max() for row in known for one in row) < 4


@pytest.mark.slow
def test_a_watch_sees_the_text_grow_and_ends_rows():
    """In pieces or at once the text is the same."""
    params, seen = parameters(MODEL), []
    whole = written(MODEL, params, SOURCES, 12, DRAWN)

    def watch(found):
        seen.append([one.tokens.tolist() for one in found])
        return [len(seen) >= 2, False, False, False]

    rows = written(MODEL, params, SOURCES, 12, DRAWN, watch=watch, each=5)
    assert [[len(text) for text in texts] for texts in seen] == [
        [5] * 4,
        [10] * 4,
        [10, 12, 12, 12],
    ]
    for (row,), (other,) in zip(rows, whole, strict=True):
        assert row.tokens.tolist() == other.tokens.tolist()[: len(row.tokens)]


def test_an_empty_source_is_refused():
    with pytest.raises(UserError, match="Source 2 of 2 is empty"):
        written(MODEL, {}, [SOURCES[0], SOURCES[0][:0]], 3)
