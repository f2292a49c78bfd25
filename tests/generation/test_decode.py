from functools import partial
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from lm_jax.errors import NotFinite, UserError
from lm_jax.generation import (
    Beam,
    Contrastive,
    Sampling,
    continue_prompts,
    decode,
    generate,
    sample,
)
from lm_jax.generation.contrastive import contrastive_search
from lm_jax.generation.speculative import Speaker, speculate
from lm_jax.generation.steps import advance
from lm_jax.mesh import make_mesh
from lm_jax.models import (
    GRU,
    LSTM,
    Gated,
    Learned,
    NoPositions,
    Recurrent,
    Rotary,
    Sinusoidal,
    Transformer,
)
from lm_jax.sharding import Sharding
from tests.first import first_params
from tests.properties import slow_but

VOCAB, CONTEXT = 11, 8
GREEDY, DRAWN = Sampling(temperature=0.0), Sampling(temperature=1.5)
RAGGED = [
    np.random.default_rng(length).integers(0, VOCAB, length)
    for length in (1, CONTEXT - 1, CONTEXT, CONTEXT + 1, 3 * CONTEXT)
]


def made(**fields):
    """A small model with opinions: large parameters make unequal logits."""
    fields = {"positions": NoPositions()} | fields
    model = Transformer(layers=2, heads=4, width=16, vocab_size=VOCAB, **fields)
    params = first_params(model, 0, jnp.zeros((1, 4), jnp.int32))
    return model, jax.tree.map(lambda p: p * 10 if p.ndim > 1 else p, params)


forward = jax.jit(
    lambda model, params, tokens: model.apply({"params": params}, tokens)[0],
    static_argnums=0,
)


def without_memory(model, params, prompts, length, context, choose):
    """Read each whole window anew for every token; ``choose`` picks the tokens."""
    windows = [list(prompt[-context:]) for prompt in prompts]
    new, seen = [], []
    for index in range(length):
        half = max(1, context // 2)
        windows = [w if len(w) <= context else w[-half:] for w in windows]
        padded = np.zeros((len(windows), context), np.int32)
        for row, window in zip(padded, windows, strict=True):
            row[: len(window)] = window
        ends = np.array([len(window) - 1 for window in windows])
        logits = forward(model, params, padded)[np.arange(len(windows)), ends]
        seen.append(logits)
        new.append(np.asarray(choose(logits, index)))
        for window, token in zip(windows, new[-1], strict=True):
            window.append(token)
    return np.stack(new, 1), np.stack(seen, 1)


def generate_uncached(model, params, prompts, length, context, sampling, seed):
    """What `generate` should return."""

    def choose(logits, index):
        keys = [
            jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), row), index)
            for row in range(len(prompts))
        ]
        return sample(logits, jnp.stack(keys), sampling)

    return without_memory(model, params, prompts, length, context, choose)[0]


STEPS = []


class Recorded(nn.Module):
    """A model that notes the position and logits of tokens it reads one by one."""

    recurrent: ClassVar[bool] = False

    model: nn.Module
    vocab_size: int = VOCAB

    def empty_cache(self, batch, slots):
        return self.model.empty_cache(batch, slots)

    def cleared(self, cache):
        return self.model.cleared(cache)

    def __call__(self, tokens, positions, segments, cache):
        logits, cache = self.model(
            tokens, positions=positions, segments=segments, cache=cache
        )
        if tokens.shape[1] == 1:
            jax.debug.callback(
                lambda *step: STEPS.append([np.asarray(part) for part in step]),
                positions[:, 0],
                logits[:, 0],
                ordered=True,
            )
        return logits, cache


def generate_recorded(model, params, prompts, length, context):
    """Tokens, and the logits that they were drawn from."""
    STEPS.clear()
    recorded, params = Recorded(model), {"model": params}
    tokens = generate(recorded, params, prompts, length, context, GREEDY, 0)
    jax.effects_barrier()
    positions, logits = (np.stack(part, 1) for part in zip(*STEPS, strict=True))
    # A row that waits for the others reads its last token again and again.
    first = np.diff(positions, axis=1, prepend=-1) != 0
    return tokens, np.stack(
        [row[new][:length] for row, new in zip(logits, first, strict=True)]
    )


VARIANTS = {
    "learned": {"positions": Learned(CONTEXT)},
    "sinusoidal, rms": {"positions": Sinusoidal(), "norm": "rms"},
    "rotary, grouped heads": {"positions": Rotary(), "kv_heads": 2},
    "one key head, untied, biases": {"kv_heads": 1, "tied": False, "use_bias": True},
    "scanned, learned": {"positions": Learned(CONTEXT), "scan": True},
    "scanned, rotary, swiglu": {
        "positions": Rotary(),
        "scan": True,
        "feedforward": Gated(),
        "norm": "rms",
        "kv_heads": 2,
        "tied": False,
    },
}


@pytest.mark.parametrize(
    "fields",
    slow_but(VARIANTS.values(), VARIANTS["rotary, grouped heads"]),
    ids=VARIANTS,
)
def test_with_cache_equals_without(fields):
    """Over several windows, for prompts of any length in one batch."""
    model, params = made(**fields)
    length = 2 * CONTEXT + 3
    tokens, logits = generate_recorded(model, params, RAGGED, length, CONTEXT)
    expected, expected_logits = without_memory(
        model, params, RAGGED, length, CONTEXT, lambda logits, _: logits.argmax(-1)
    )
    assert (tokens == expected).all()
    np.testing.assert_allclose(logits, expected_logits, atol=1e-4)
    assert len(np.unique(tokens)) > 2 and expected_logits.std() > 0.5


@pytest.mark.slow
def test_bfloat16_with_cache_is_near_without():
    """Within 2% of the largest logit: bfloat16 rounds to 0.4%, layer on layer."""
    model, params = made(dtype="bfloat16", positions=Rotary())
    tokens, logits = generate_recorded(model, params, RAGGED, 20, CONTEXT)
    _, expected = without_memory(
        model, params, RAGGED, 20, CONTEXT, lambda _, index: tokens[:, index]
    )
    assert np.abs(logits - expected).max() <= 0.02 * np.abs(expected).max()
    assert (tokens == logits.argmax(-1)).all()


@pytest.mark.slow
@pytest.mark.parametrize("cell", [LSTM(), GRU()])
def test_a_recurrent_model_reads_everything_once_and_forgets_no_window(cell):
    model = Recurrent(cell, width=16, range=3.0, cell_range=2.0, vocab_size=VOCAB)
    params = model.init(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))["params"]
    tokens = generate(model, params, RAGGED, 12, CONTEXT, GREEDY, 0)
    longest = max(map(len, RAGGED)) + 12
    expected, _ = without_memory(
        model, params, RAGGED, 12, longest, lambda logits, _: logits.argmax(-1)
    )
    assert (tokens == expected).all()
    assert len(np.unique(tokens)) > 2


@pytest.mark.slow
@pytest.mark.parametrize("context", [1, 5])
def test_any_context_and_any_number_of_windows(context):
    model, params = made()
    arguments = (model, params, RAGGED, 17, context, DRAWN, 3)
    assert (generate(*arguments) == generate_uncached(*arguments)).all()


@pytest.mark.slow
@pytest.mark.parametrize("length", [1, 11])
def test_a_short_text_equals_without_memory(length):
    """Also where the whole text fits and the cache is smaller than the context."""
    model, params = made(positions=Learned(32))
    arguments = (model, params, RAGGED[:3], length, 32, DRAWN, 0)
    assert (generate(*arguments) == generate_uncached(*arguments)).all()


@pytest.mark.slow
def test_a_row_does_not_depend_on_the_rows_beside_it():
    model, params = made()
    together = generate(model, params, RAGGED, 17, 5, DRAWN, 3)
    alone = generate(model, params, RAGGED[:1], 17, 5, DRAWN, 3)
    assert (alone == together[:1]).all()
    backwards = generate(model, params, RAGGED[::-1], 17, 5, DRAWN, 3)
    assert (backwards[2] == together[2]).all()
    assert (backwards != together).any()


def test_a_shorter_text_is_the_beginning_of_a_longer_one():
    model, params = made()
    longer = generate(model, params, RAGGED, 17, 5, DRAWN, 0)
    shorter = generate(model, params, RAGGED, 3, 5, DRAWN, 0)
    assert (shorter == longer[:, :3]).all()


def test_the_seed_and_the_row_decide_the_draws():
    model, params = made()
    prompts = [RAGGED[1]] * 2
    one, again, other = (
        generate(model, params, prompts, 9, CONTEXT, DRAWN, seed) for seed in (0, 0, 1)
    )
    assert (one == again).all()
    assert (one != other).any(axis=1).all() and (one[0] != one[1]).any()


def test_padding_is_overwritten_before_it_is_seen(monkeypatch):
    """Whatever stands after the prompts, the new tokens are the same."""
    model, params = made(positions=Learned(CONTEXT))
    lay_out, texts = decode._laid_out, []
    for padding in (0, 5):

        def padded(*given, padding=padding):
            text, lengths, windows = lay_out(*given)
            text[np.arange(text.shape[1]) >= lengths[:, None]] = padding
            return text, lengths, windows

        monkeypatch.setattr(decode, "_laid_out", padded)
        texts.append(generate(model, params, RAGGED[:3], 12, CONTEXT, GREEDY, 0))
    assert (texts[0] == texts[1]).all()


def test_evaluations_do_not_compile_again():
    """Other parameters, seeds and prompts of about the same length are arguments."""
    model, params = made()
    arguments = (9, CONTEXT, GREEDY)
    first = generate(model, params, [RAGGED[1]], *arguments, 0)
    count = advance._cache_size()
    other = jax.tree.map(lambda p: -p, params)
    twin, _ = made()
    second = generate(twin, other, [RAGGED[1][:5]], 9, CONTEXT, Sampling(0.0), 1)
    third = generate(model, other, [RAGGED[4]], *arguments, 2)
    assert advance._cache_size() == count
    assert (first != second).any() and (first != third).any()


@pytest.mark.parametrize("devices", [1, 2])
def test_a_text_that_is_watched_compiles_once(devices):
    """Parameters of a run are bound to devices, and what follows them is too."""
    model, params = made()
    mesh = make_mesh(Sharding(), jax.devices()[:devices])
    params = jax.device_put(params, NamedSharding(mesh, PartitionSpec()))
    before, seen = advance._cache_size(), []

    def watch(found):
        seen.append(found[0].tokens)
        return [False]

    given = model, params, [RAGGED[1]], 9, CONTEXT, GREEDY, 0
    ((whole,),) = continue_prompts(*given, watch=watch, each=3)
    assert advance._cache_size() == before + 1 and len(seen) == 3
    assert (seen[-1] == whole.tokens).all()


def test_nothing_asked_for_is_nothing():
    model, params = made()
    assert generate(model, params, RAGGED, 0, CONTEXT, DRAWN, 0).shape == (5, 0)
    assert generate(model, params, [], 4, CONTEXT, DRAWN, 0).shape == (0, 4)


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"prompts": [RAGGED[0], np.array([], int)]}, ("Prompt 2 of 2 is empty",)),
        ({"prompts": [np.array([1, 11])]}, ("token 11", "0 to 10")),
        ({"prompts": [np.array([-1, 3])]}, ("token -1",)),
        ({"length": -1}, ("length=-1",)),
        ({"sampling": Sampling(top_k=0)}, ("top_k=0", "11")),
    ],
)
def test_bad_input_is_refused_in_one_message(changed, words):
    model, params = made()
    arguments = {"prompts": RAGGED, "length": 2, "sampling": GREEDY} | changed
    with pytest.raises(UserError) as caught:
        generate(model, params, context=CONTEXT, seed=0, **arguments)
    assert all(word in str(caught.value) for word in words)


def continued(model, params, sampling=GREEDY, **how):
    return continue_prompts(
        model, params, RAGGED[:2], 3, CONTEXT, sampling, 0, known=VOCAB, **how
    )


def searched(model, params):
    how = Contrastive(2, 0.5)
    return contrastive_search(
        model, params, RAGGED[:2], 1, CONTEXT, how, known=VOCAB, end=None
    )


def speculated(model, params):
    sure = jax.tree.map(jnp.zeros_like, params)
    writes, drafts = Speaker(model, params, CONTEXT), Speaker(model, sure, CONTEXT)
    return speculate(writes, drafts, RAGGED[:1], 2, GREEDY, 0, known=VOCAB)


WAYS = {
    "greedy": continued,
    "drawn": partial(continued, sampling=DRAWN),
    "of the best": partial(continued, sampling=Sampling(0.5, top_k=2)),
    "beams": partial(continued, beam=Beam(2)),
    "contrastive": searched,
    "drafts": speculated,
}


@pytest.mark.parametrize("value", slow_but([np.nan, np.inf], np.nan))
@pytest.mark.parametrize("way", WAYS)
def test_what_is_no_number_is_not_drawn_from(value, way):
    """Argmax would take the first token."""
    small = {"vocab_size": VOCAB, "tied": False, "positions": NoPositions()}
    model = Transformer(layers=0, heads=1, width=4, **small)
    params = first_params(model, 0, jnp.zeros((1, 4), jnp.int32))
    params["lm_head"]["kernel"] = params["lm_head"]["kernel"].at[:, 3].set(value)
    with pytest.raises(NotFinite, match="no token to draw"):
        WAYS[way](model, params)


def test_tokens_that_a_model_rules_out_are_no_fault():
    class Forbidding(Transformer):
        def logits(self, hidden):
            return super().logits(hidden).at[..., ::2].set(-jnp.inf)

    model, params = made()
    model = Forbidding(
        layers=2, heads=4, width=16, vocab_size=VOCAB, positions=NoPositions()
    )
    new = generate(model, params, RAGGED[:2], 5, CONTEXT, DRAWN, 0)
    assert (new % 2 == 1).all()
