"""Contrastive search is what a plain reading of its equation gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.errors import UserError
from lm_jax.generation import Contrastive, Sampling, continue_prompts
from lm_jax.generation.contrastive import contrastive_search
from lm_jax.models import GRU, EncoderDecoder, Learned, Recurrent, Rotary, Transformer
from tests.first import first_params

VOCAB, CONTEXT, LENGTH = 11, 24, 12
MODELS = {
    "learned": Transformer(2, 2, 16, vocab_size=VOCAB, positions=Learned(CONTEXT)),
    "scanned": Transformer(2, 2, 16, vocab_size=VOCAB, positions=Rotary(), scan=True),
    "recurrent": Recurrent(GRU(), width=16, layers=2, vocab_size=VOCAB),
}
PROMPTS = [
    np.random.default_rng(length).integers(0, VOCAB, length) for length in (1, 5, 12)
]


def with_opinions(model):
    params = first_params(model, 0, jnp.zeros((1, 4), jnp.int32))
    return jax.tree.map(lambda p: p * 6 if p.ndim > 1 else p, params)


def plain(model, params, prompt, search, known, end=None):
    """Read everything anew for each candidate of each token."""
    read = jax.jit(lambda t: model.apply({"params": params}, t, method="features")[0])
    score = jax.jit(lambda h: model.apply({"params": params}, h, method="logits"))
    text, log_p = list(prompt), []
    for _ in range(LENGTH):
        padded = np.zeros((search.candidates, CONTEXT), np.int32)
        padded[:, : len(text)] = text
        hidden = read(jnp.asarray(padded))
        logits = score(hidden)[0, len(text) - 1, :known]
        p = jax.nn.softmax(logits)
        best = np.argsort(-p, kind="stable")[: search.candidates]
        padded[:, len(text)] = best
        hidden = np.asarray(read(jnp.asarray(padded)), np.float64)
        hidden /= np.linalg.norm(hidden, axis=-1, keepdims=True)
        before, new = hidden[:, : len(text)], hidden[:, len(text)]
        alike = np.einsum("kcw,kw->kc", before, new).max(axis=-1)
        token = best[np.argmax((1 - search.alpha) * p[best] - search.alpha * alike)]
        log_p.append(float(jnp.log(p[token])))
        text.append(int(token))
        if token == end:
            break
    return text[len(prompt) :], log_p


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_it_is_the_equation_for_ragged_prompts_until_an_end(name):
    model, search, known = MODELS[name], Contrastive(4, 0.6), VOCAB - 1
    params = with_opinions(model)
    context = CONTEXT
    expected = [plain(model, params, p, search, known) for p in PROMPTS]
    greedy = continue_prompts(
        model, params, PROMPTS, LENGTH, context, Sampling(0.0), 0, known=known
    )
    assert expected[0][0] != greedy[0][0].tokens.tolist()
    for end in (None, expected[1][0][3]):
        found = contrastive_search(
            model, params, PROMPTS, LENGTH, context, search, known=known, end=end
        )
        for (one,), (tokens, log_p) in zip(found, expected, strict=True):
            stop = tokens.index(end) + 1 if end in tokens else len(tokens)
            assert one.tokens.tolist() == tokens[:stop] and one.ended == (end in tokens)
            np.testing.assert_allclose(one.log_probabilities, log_p[:stop], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("search", [Contrastive(1, 0.6), Contrastive(4, 0.0)])
def test_one_candidate_or_no_alpha_is_greedy(search):
    model = MODELS["learned"]
    params, sampling = with_opinions(model), Sampling(0.0, repetition_penalty=1.5)
    given = model, params, PROMPTS, LENGTH, CONTEXT
    greedy = continue_prompts(*given, sampling, 0)
    for (one,), (other,) in zip(
        contrastive_search(*given, search, sampling), greedy, strict=True
    ):
        assert one.tokens.tolist() == other.tokens.tolist()
        np.testing.assert_allclose(
            one.log_probabilities, other.log_probabilities, atol=1e-4
        )


def test_what_can_not_be_searched_is_refused():
    model = MODELS["learned"]
    params = with_opinions(model)
    with pytest.raises(UserError, match="Use a length of 12 or less"):
        contrastive_search(model, params, PROMPTS, 13, CONTEXT, Contrastive())
    with pytest.raises(UserError, match="alpha"):
        contrastive_search(model, params, PROMPTS, 3, CONTEXT, Contrastive(4, 1.5))
    fields = {"layers": 1, "heads": 2, "width": 8, "vocab_size": VOCAB}
    pairs = EncoderDecoder(**fields, positions=Rotary())
    with pytest.raises(UserError, match="EncoderDecoder has none"):
        contrastive_search(pairs, {}, PROMPTS, 3, CONTEXT, Contrastive())
