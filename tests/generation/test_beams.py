"""Beam search finds what an exhaustive one finds, and each prompt's own."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.errors import UserError
from lm_jax.generation import Beam, Sampling, continue_prompts
from lm_jax.models import GRU, Learned, NoPositions, Recurrent, Rotary, Transformer
from tests.first import first_params

VOCAB, CONTEXT, END = 11, 8, 0
GREEDY = Sampling(temperature=0.0)
RAGGED = [
    np.random.default_rng(length).integers(1, VOCAB, length)
    for length in (1, 3, CONTEXT, 2 * CONTEXT)
]
MODELS = {
    "learned": Transformer(2, 4, 16, vocab_size=VOCAB, positions=Learned(CONTEXT)),
    "scanned": Transformer(
        2, 4, 16, vocab_size=VOCAB, positions=Rotary(), scan=True, kv_heads=2
    ),
    "recurrent": Recurrent(
        GRU(), width=16, range=3.0, cell_range=2.0, vocab_size=VOCAB
    ),
}


def parameters(model, seed=0):
    """Large ones: they make unequal logits."""
    tokens = jnp.zeros((1, 4), jnp.int32)
    if isinstance(model, Recurrent):
        return model.init(jax.random.key(seed), tokens)["params"]
    params = first_params(model, seed, tokens)
    return jax.tree.map(lambda p: p * 5 if p.ndim > 1 else p, params)


def searched(model, params, prompts, length, beam, **more):
    """The hypotheses of each prompt, (tokens, score) each."""
    found = continue_prompts(
        model, params, prompts, length, CONTEXT, GREEDY, 0, beam=beam, **more
    )
    return [[(h.tokens.tolist(), h.score) for h in row] for row in found]


def log_probabilities(model, params, prompt, tokens, known):
    text = jnp.asarray([*prompt, *tokens])[None]
    logits, _ = model.apply({"params": params}, text)
    p = jax.nn.log_softmax(logits[0, len(prompt) - 1 : -1, :known], axis=-1)
    return np.asarray(p)[np.arange(len(tokens)), list(tokens)]


@pytest.mark.slow
@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.5])
def test_a_wide_beam_is_exhaustive(penalty):
    """All texts of 3 tokens out of three, and shorter ones that end."""
    model = MODELS["learned"].clone(positions=NoPositions())
    params, known, length = parameters(model), 3, 3
    beam = Beam(20, penalty, best=20)
    rows = searched(model, params, RAGGED[:2], length, beam, end=END, known=known)
    texts = [
        text
        for n in range(1, length + 1)
        for text in itertools.product(range(known), repeat=n)
        if END not in text[:-1] and (n == length or text[-1] == END)
    ]
    for prompt, row in zip(RAGGED, rows, strict=False):
        sums = [
            log_probabilities(model, params, prompt, t, known).sum() / len(t) ** penalty
            for t in texts
        ]
        order = np.argsort(sums)[::-1]
        assert [list(texts[i]) for i in order] == [tokens for tokens, _ in row]
        np.testing.assert_allclose(
            [sums[i] for i in order], [score for _, score in row], rtol=1e-4
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_beam_of_one_is_greedy(name):
    """Over several windows, until the same end."""
    model = MODELS[name]
    params, length = parameters(model), 2 * CONTEXT
    for end in (None, END):
        arguments = (model, params, RAGGED, length, CONTEXT, GREEDY, 0)
        drawn = continue_prompts(*arguments, end=end)
        found = continue_prompts(*arguments, end=end, beam=Beam(1))
        for (one,), (other,) in zip(drawn, found, strict=True):
            np.testing.assert_array_equal(one.tokens, other.tokens)
            np.testing.assert_allclose(
                one.log_probabilities, other.log_probabilities, atol=1e-5
            )
            assert one.ended == other.ended
            assert one.score == pytest.approx(other.score * len(one.tokens), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("beam", [Beam(3, best=3), Beam(4, 0.5, 4, 2, 0.7)], ids=str)
def test_a_prompt_does_not_depend_on_those_beside_it(name, beam):
    model, length = MODELS[name], 2 * CONTEXT + 1
    params = parameters(model)
    together = searched(model, params, RAGGED, length, beam, end=END)
    for prompt, row in zip(RAGGED, together, strict=True):
        (alone,) = searched(model, params, [prompt], length, beam, end=END)
        assert [tokens for tokens, _ in alone] == [tokens for tokens, _ in row]
    lengths = {len(tokens) for row in together for tokens, _ in row}
    assert len(lengths) > 2


@pytest.mark.slow
def test_the_winner_is_the_same_however_many_are_asked_for():
    model = MODELS["learned"]
    params = parameters(model)
    asked = [
        searched(model, params, RAGGED, 6, Beam(4, best=best), end=END)
        for best in (1, 2, 4)
    ]
    for one, two, four in zip(*asked, strict=True):
        assert len(one) == 1 and len(two) == 2 and one == two[:1] and two == four[:2]
        scores = [score for _, score in four]
        assert scores == sorted(scores, reverse=True)
        assert len({tuple(tokens) for tokens, _ in four}) == 4


@pytest.mark.slow
def test_a_score_is_of_new_tokens_alone():
    """Prompts of 1 and of 8 tokens: a length is that of what was added."""
    model = MODELS["learned"].clone(positions=NoPositions())
    params = parameters(model)
    for prompt, (found,) in zip(
        RAGGED[:3],
        continue_prompts(
            model, params, RAGGED[:3], 5, 64, GREEDY, 0, beam=Beam(3, 1.5), end=END
        ),
        strict=True,
    ):
        p = log_probabilities(model, params, prompt, found.tokens, None)
        assert found.score == pytest.approx(p.sum() / len(p) ** 1.5, rel=1e-4)
        np.testing.assert_allclose(found.log_probabilities, p, atol=1e-4)


@pytest.mark.slow
def test_groups_differ_and_the_first_is_a_beam_of_its_own():
    model = MODELS["learned"]
    params = parameters(model)
    alone = searched(model, params, RAGGED, 6, Beam(2, best=2))
    found = searched(model, params, RAGGED, 6, Beam(4, 1.0, 4, 2, 20.0))
    for own, row in zip(alone, found, strict=True):
        texts = [tokens for tokens, _ in row]
        assert all(tokens in texts for tokens, _ in own)
        others = [tokens for tokens in texts if tokens not in [t for t, _ in own]]
        assert others and all(
            {a[place] for a, _ in own}.isdisjoint({b[place] for b in others})
            for place in range(6)
        )


@pytest.mark.slow
def test_penalties_act_on_hypotheses():
    model = MODELS["learned"].clone(positions=NoPositions())
    params = parameters(model)
    for once in (None, 1):
        (row,) = continue_prompts(
            model,
            params,
            [RAGGED[0]],
            8,
            64,
            Sampling(no_repeat_ngram=once),
            0,
            beam=Beam(3),
        )
        repeated = len(set(row[0].tokens.tolist())) < 8
        assert repeated == (once is None)


@pytest.mark.parametrize(
    "beam, words",
    [
        (Beam(0), ("beam.size=0",)),
        (Beam(2, best=3), ("beam.best=3", "--beam.size 3")),
        (Beam(4, groups=3, diversity=1.0), ("beam.size=4", "beam.groups=3")),
        (Beam(4, groups=2), ("beam.diversity=0.0",)),
        (Beam(2, length_penalty=float("nan")), ("beam.length_penalty=nan",)),
        # A score of -inf would be no hypothesis, and a text would be lost.
        (Beam(2, length_penalty=-30.0), ("beam.length_penalty=-30", "-5 to 5")),
    ],
)
def test_what_cannot_be_searched_is_refused(beam, words):
    with pytest.raises(UserError) as caught:
        beam.check(VOCAB)
    assert all(word in str(caught.value) for word in words)
