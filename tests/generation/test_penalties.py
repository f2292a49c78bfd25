"""What was written before changes what is drawn, as transformers does it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.errors import UserError
from lm_jax.generation import History, Sampling, continue_prompts, sample
from lm_jax.generation.sampling import cut, penalised
from tests.generation.test_beams import CONTEXT, GREEDY, MODELS, RAGGED, parameters
from tests.properties import slow_but

VOCAB, COLUMNS = 7, 12
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(4, VOCAB)).astype(np.float32) * 3
TEXT = RNG.integers(0, VOCAB, (4, COLUMNS)).astype(np.int32)
FIRSTS, ENDS = np.array([1, 3, 5, 1]), np.array([1, 6, 12, 9])
HISTORY = History(*map(jnp.asarray, (TEXT, FIRSTS, ENDS)))
ALL = Sampling(
    temperature=0.0,
    repetition_penalty=1.3,
    frequency_penalty=0.4,
    presence_penalty=0.7,
    no_repeat_ngram=2,
)


def changed(sampling):
    return np.asarray(penalised(jnp.asarray(LOGITS), sampling, HISTORY))


def test_counts_are_of_the_new_text_alone():
    """The formula of OpenAI's documentation, token by token."""
    found = changed(Sampling(frequency_penalty=0.5, presence_penalty=-2.0))
    for row, (first, end) in enumerate(zip(FIRSTS, ENDS, strict=True)):
        new = TEXT[row, first:end].tolist()
        expected = [
            logit - 0.5 * new.count(token) + 2.0 * (token in new)
            for token, logit in enumerate(LOGITS[row])
        ]
        np.testing.assert_allclose(found[row], expected, atol=1e-6)


@pytest.mark.parametrize(
    "name, value",
    [
        ("repetition_penalty", 1.7),
        ("repetition_penalty", 0.6),
        ("no_repeat_ngram", 1),
        ("no_repeat_ngram", 2),
        ("no_repeat_ngram", 3),
    ],
)
def test_a_text_so_far_counts_as_in_transformers(name, value):
    torch = pytest.importorskip("torch")
    processors = pytest.importorskip("transformers").generation.logits_process
    kinds = {
        "repetition_penalty": processors.RepetitionPenaltyLogitsProcessor,
        "no_repeat_ngram": processors.NoRepeatNGramLogitsProcessor,
    }
    found, ruled_out = changed(Sampling(**{name: value})), 0
    for row, end in enumerate(ENDS):
        text = torch.from_numpy(TEXT[row : row + 1, :end]).long()
        logits = torch.from_numpy(LOGITS[row : row + 1]).clone()
        expected = kinds[name](value)(text, logits)[0].numpy()
        if np.isneginf(expected).all():  # ours rules out none then
            expected = LOGITS[row]
        ruled_out += np.isneginf(expected).sum()
        np.testing.assert_allclose(found[row], expected, rtol=1e-6)
    assert name == "repetition_penalty" or value == 3 or ruled_out


@pytest.mark.parametrize("share", [0.05, 0.3, 0.7, 0.95, 1.0])
@pytest.mark.parametrize("cuts", [{}, {"top_k": 5}, {"min_p": 0.05}])
def test_what_is_typical_is_what_transformers_keeps(share, cuts):
    torch = pytest.importorskip("torch")
    warpers = pytest.importorskip("transformers").generation.logits_process
    kept, ids = cut(jnp.asarray(LOGITS), Sampling(0.8, typical=share, **cuts))
    found = np.full(LOGITS.shape, -np.inf)
    places = np.arange(VOCAB)[None] if ids is None else np.asarray(ids)
    np.put_along_axis(found, np.broadcast_to(places, kept.shape), kept, 1)
    expected = torch.from_numpy(LOGITS) / 0.8
    if "top_k" in cuts:
        expected = warpers.TopKLogitsWarper(5)(None, expected)
    if "min_p" in cuts:
        expected = warpers.MinPLogitsWarper(0.05)(None, expected)
    if share < 1:
        expected = warpers.TypicalLogitsWarper(share)(None, expected)
    assert (np.isneginf(found) == np.isneginf(expected.numpy())).all()


def test_what_stands_after_a_text_changes_nothing():
    """Nor does the prompt, where new text alone counts."""
    for token in range(VOCAB):
        text = np.where(np.arange(COLUMNS) < ENDS[:, None], TEXT, token)
        other = HISTORY._replace(text=jnp.asarray(text.astype(np.int32)))
        found = penalised(jnp.asarray(LOGITS), ALL, other)
        np.testing.assert_array_equal(found, changed(ALL))
    prompts = np.where(np.arange(COLUMNS) < FIRSTS[:, None], 0, TEXT).astype(np.int32)
    other = HISTORY._replace(text=jnp.asarray(prompts))
    counts = Sampling(frequency_penalty=1.0)
    found = penalised(jnp.asarray(LOGITS), counts, other)
    np.testing.assert_array_equal(found, changed(counts))


def test_sample_draws_from_what_is_left():
    keys = jax.random.split(jax.random.key(0), 4)
    for temperature in (0.0, 1.0):
        once = Sampling(temperature, no_repeat_ngram=1)
        for row, token in enumerate(sample(jnp.asarray(LOGITS), keys, once, HISTORY)):
            seen = set(TEXT[row, : ENDS[row]].tolist())
            assert int(token) not in seen or len(seen) == VOCAB


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but(MODELS, "scanned"))
def test_a_row_is_penalised_for_its_own_text(name):
    """Beside others or alone, over several windows."""
    model = MODELS[name]
    params, length = parameters(model), 2 * CONTEXT
    arguments = (length, CONTEXT, ALL, 0)
    together = continue_prompts(model, params, RAGGED, *arguments)
    free = continue_prompts(model, params, RAGGED, length, CONTEXT, GREEDY, 0)
    for prompt, (row,), (other,) in zip(RAGGED, together, free, strict=True):
        ((alone,),) = continue_prompts(model, params, [prompt], *arguments)
        np.testing.assert_array_equal(alone.tokens, row.tokens)
        pairs = list(zip(row.tokens, row.tokens[1:], strict=False))
        assert len(set(pairs)) == len(pairs)
        assert (row.tokens != other.tokens).any()


@pytest.mark.parametrize(
    "sampling, words",
    [
        (Sampling(typical=0.0), "typical=0.0"),
        (Sampling(repetition_penalty=0.0), "repetition_penalty=0.0"),
        (Sampling(repetition_penalty=1e39), "repetition_penalty=1e.39.*to 1e.06"),
        (Sampling(repetition_penalty=1e-46), "repetition_penalty=1e-46"),
        (Sampling(frequency_penalty=-1e39), "frequency_penalty=-1e.39"),
        (Sampling(frequency_penalty=float("nan")), "frequency_penalty=nan"),
        (Sampling(presence_penalty=float("inf")), "presence_penalty=inf"),
        (Sampling(no_repeat_ngram=0), "no_repeat_ngram=0"),
    ],
)
def test_what_is_no_penalty_is_refused(sampling, words):
    with pytest.raises(UserError, match=words):
        sampling.check(VOCAB)
