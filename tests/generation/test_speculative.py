"""A draft changes how fast a text is written, and nothing of what is written."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from lm_jax.errors import UserError
from lm_jax.generation import History, Sampling, continue_prompts, speculative
from lm_jax.generation.sampling import distribution
from lm_jax.generation.speculative import Speaker, speculate, verified
from lm_jax.models import GRU, Learned, Recurrent, Rotary, Transformer
from tests.generation.test_beams import parameters

VOCAB, CONTEXT = 11, 32
LARGE = Transformer(2, 4, 16, vocab_size=VOCAB, positions=Learned(CONTEXT))
SMALL = Transformer(1, 2, 8, vocab_size=VOCAB, positions=Rotary())
PROMPTS = [
    np.random.default_rng(length).integers(0, VOCAB, length) for length in (1, 2, 6, 9)
]
GREEDY = Sampling(temperature=0.0)
PENALTIES = Sampling(
    temperature=0.0, repetition_penalty=1.5, frequency_penalty=0.5, no_repeat_ngram=2
)


@pytest.fixture(scope="module")
def models():
    """A large model, and a draft that is often wrong."""
    large = parameters(LARGE)
    noise = jax.random.normal(jax.random.key(5), (VOCAB, 16))
    near = large | {"embedding": large["embedding"] + 0.7 * noise}
    return Speaker(LARGE, large, CONTEXT), Speaker(LARGE, near, CONTEXT)


def continued(large, sampling, length, **how):
    found = continue_prompts(
        large.model, large.params, PROMPTS, length, CONTEXT, sampling, 0, **how
    )
    return [row[0] for row in found]


@pytest.mark.slow
@pytest.mark.parametrize("sampling", [GREEDY, PENALTIES], ids=["greedy", "penalised"])
def test_greedy_texts_are_the_large_models(models, sampling):
    """Ragged, until the same end, with the same ln p; of a near and a far draft."""
    large, near = models
    far = Speaker(SMALL, parameters(SMALL), CONTEXT)
    free = continued(large, sampling, 20)
    for end in (None, int(free[2].tokens[5])):
        expected = continued(large, sampling, 20, end=end)
        speeds = []
        for draft in (large, near, far):
            rows, speed = speculate(
                large, draft, PROMPTS, 20, sampling, 0, known=VOCAB, end=end
            )
            speeds.append(speed)
            for one, (other,) in zip(expected, rows, strict=True):
                assert one.tokens.tolist() == other.tokens.tolist()
                assert one.ended == other.ended
                np.testing.assert_allclose(
                    one.log_probabilities, other.log_probabilities, atol=1e-4
                )
        assert speeds[0] > speeds[1] > 1 and speeds[0] > speeds[2] >= 1
    assert speeds[0] > 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(),
        Sampling(0.7, top_k=3, repetition_penalty=1.4),
        Sampling(1.3, top_p=0.8, presence_penalty=0.5),
    ],
    ids=["plain", "top_k", "top_p"],
)
def test_drawn_texts_have_the_large_models_distribution(models, sampling):
    """Chi-square of 6000 texts of three tokens out of four, with a poor draft."""
    large, near = models
    known, draws, prompt = 4, 6000, np.array([1, 2])
    rows, _ = speculate(
        large, near, [prompt] * draws, 3, sampling, 1, known=known, ahead=2
    )
    texts = list(itertools.product(range(known), repeat=3))
    places = {text: i for i, text in enumerate(texts)}
    found = np.bincount(
        [places[tuple(row[0].tokens.tolist())] for row in rows], minlength=len(texts)
    )
    expected = np.array(
        [chance(large, prompt, text, sampling, known) for text in texts]
    )
    assert expected.sum() == pytest.approx(1.0, abs=1e-4)
    assert (found[expected == 0] == 0).all()
    # Rare ones together: a chi-square needs five of each.
    rare = expected * draws < 5
    counts = [*found[~rare], found[rare].sum()]
    chances = np.array([*expected[~rare], expected[rare].sum()])
    there = chances > 0
    counts, chances = np.array(counts)[there], chances[there]
    assert chisquare(counts, chances / chances.sum() * draws).pvalue > 1e-3


CHANCES = {}


def chance(large, prompt, text, sampling, known):
    """The probability of a text, token by token and without a cache."""
    total = 1.0
    for place in range(len(text)):
        key = sampling, text[:place]
        if key not in CHANCES:
            whole = jnp.asarray([*prompt, *text[:place]])[None]
            logits, _ = large.model.apply({"params": large.params}, whole)
            ends = jnp.array([whole.shape[1]])
            history = History(whole, jnp.array([len(prompt)]), ends)
            CHANCES[key] = distribution(logits[:, -1, :known], sampling, history)[0]
        total *= float(CHANCES[key][text[place]])
    return total


@pytest.mark.slow
def test_a_row_does_not_depend_on_those_beside_it(models):
    large, near = models
    together, _ = speculate(large, near, PROMPTS, 20, Sampling(), 3, known=VOCAB)
    for number, (prompt, row) in enumerate(zip(PROMPTS, together, strict=True)):
        ((alone,),), _ = speculate(
            large, near, [prompt], 20, Sampling(), 3, known=VOCAB, numbers=[number]
        )
        assert alone.tokens.tolist() == row[0].tokens.tolist()


def test_the_first_proposed_token_is_verified_too():
    """What the large model rules out is never kept, and what both say always is."""
    p = jnp.array([[[0.5, 0.5, 0.0]] * 3] * 2)
    q = jnp.array([[[0.0, 0.0, 1.0], [0.5, 0.5, 0.0]], [[0.5, 0.5, 0.0]] * 2])
    kept, left = verified(
        p, q, jnp.array([[2, 0], [1, 0]]), jnp.array([[0.0, 0.0], [0.99, 0.99]])
    )
    assert kept.tolist() == [0, 2]
    np.testing.assert_allclose(left, [[0.5, 0.5, 0.0]] * 2)


def test_prompts_of_near_lengths_are_one_program(models, monkeypatch):
    shapes = set()

    class Seen(Exception):
        """It would be computed now."""

    def look(asked, given, text):
        shapes.add((text.shape, asked.slots(text)))
        raise Seen

    monkeypatch.setattr(speculative, "_speculate", look)
    for length in (5, 6, 8, 9, 16):
        with pytest.raises(Seen):
            prompt = np.ones(length, np.int32)
            speculate(*models, [prompt], 14, GREEDY, 0, known=VOCAB)
    assert shapes == {((1, 8 + 14 + 5), 21), ((1, 16 + 14 + 5), 29)}


def test_what_a_draft_cannot_help_is_refused(models):
    large, near = models
    with pytest.raises(UserError, match="--length 24 or less"):
        speculate(large, near, PROMPTS, 25, GREEDY, 0, known=VOCAB)
    recurrent = Speaker(Recurrent(GRU(), vocab_size=VOCAB), {}, CONTEXT)
    with pytest.raises(UserError, match="Recurrent can't take back"):
        speculate(large, recurrent, PROMPTS, 5, GREEDY, 0, known=VOCAB)
