"""Probabilities of tokens: they add up, and are those of an evaluation."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.counting import KneserNey, MaximumLikelihood, NGram
from lm_jax.data import TokenStream
from lm_jax.data.windows import stream_window, windows_of
from lm_jax.errors import UserError
from lm_jax.evaluation import Likelihood
from lm_jax.experiment import CountExperiment
from lm_jax.inspection.formulations import ask, ask_shared, formulation_of, mask_id
from lm_jax.inspection.reading import read, score, score_shared
from lm_jax.models import GRU, GatedConv, Recurrent
from lm_jax.objectives import NextToken
from lm_jax.runs.model import CountedModel
from lm_jax.text import Corpus
from lm_jax.tokenizers import Characters, Subwords, Words
from tests.inspection.made import CONTEXT, decoder, encoder
from tests.tiny import TEXT

PLAIN = "the cat sees the mouse."


def logits_of(model, ids, **given):
    return model.model.apply({"params": model.params}, jnp.asarray(ids)[None], **given)


def test_a_token_has_the_probability_that_the_logits_say():
    model = decoder()
    (found,) = read(model, [PLAIN], alternatives=3)
    told = jax.nn.log_softmax(logits_of(model, found.tokens)[0][0, :-1])
    answers = found.answers
    own = np.take_along_axis(told, found.tokens[1:, None], 1)[:, 0]
    np.testing.assert_allclose(answers.log_probabilities, own, atol=1e-5)
    order = np.argsort(-told, axis=1)
    np.testing.assert_array_equal(answers.likeliest, order[:, :3])
    best = np.take_along_axis(np.asarray(told), order[:, :3], 1)
    np.testing.assert_allclose(answers.of_likeliest, best, atol=1e-5)
    places = np.argmax(order == found.tokens[1:, None], axis=1)
    np.testing.assert_array_equal(answers.ranks, 1 + places)
    assert found.log_probability == pytest.approx(float(own.sum()), abs=1e-4)


def test_a_text_is_read_after_what_it_is_read_after_in_training():
    model = decoder()  # a text of one line: it begins after a space
    (found,) = read(model, ["cat"])
    assert found.symbols == [" ", "c", "a", "t"] and list(found.scored) == [1, 2, 3]
    model = decoder(end=True)
    (found,) = read(model, ["cat"])
    assert found.symbols[0] == "<|end|>" and list(found.scored) == [1, 2, 3]
    model = decoder(tokenizer=Characters().train(["cta"]))
    (found,) = read(model, ["cat"])  # nothing is known: the first has none
    assert found.symbols == ["c", "a", "t"] and list(found.scored) == [1, 2]


@pytest.mark.slow
def test_padding_and_the_rows_beside_a_text_change_nothing():
    texts = [PLAIN, "a dog", "my bird eats", PLAIN * 4]
    for make in (decoder, encoder):
        model = make()
        alone = [score(model, [text])[0] for text in texts]
        np.testing.assert_allclose(score(model, texts), alone, rtol=1e-5)


def test_a_longer_text_is_read_in_the_windows_of_an_evaluation():
    model = decoder()
    (found,) = read(model, [PLAIN * 5])
    ids, nats = found.tokens, 0.0
    for index in range(windows_of(len(ids), CONTEXT)):
        row = stream_window(ids, CONTEXT, index)
        batch = {k: jnp.asarray(v)[None] for k, v in row.items()}
        sums = NextToken()(model.model, model.params, batch, None)
        nats += float(sums.metrics["nats"])
    assert len(ids) > 4 * CONTEXT
    assert found.log_probability == pytest.approx(-nats, rel=1e-5)


@pytest.mark.parametrize("model", [Recurrent(GRU(), width=8), GatedConv(width=8)])
def test_other_families_are_read_too(model):
    made = decoder(model)
    text = PLAIN * 3 if model.recurrent else PLAIN
    (found,) = read(made, [text])
    told = jax.nn.log_softmax(logits_of(made, found.tokens)[0][0, :-1])
    own = np.take_along_axis(told, found.tokens[1:, None], 1)[:, 0]
    np.testing.assert_allclose(found.answers.log_probabilities, own, atol=1e-5)


def counted(order, smoothing, end):
    tokenizer = Words().train([TEXT], end)
    made = NGram(order, smoothing)
    ends = tokenizer.end_id
    fitted = made.fit(tokenizer.encode(TEXT), tokenizer.vocab_size, ends)
    data = TokenStream(Corpus("text.txt"), Words())
    experiment = CountExperiment(data, made, {"likelihood": Likelihood()})
    return CountedModel(experiment, tokenizer, fitted)


@pytest.mark.parametrize("end", [False, True])
@pytest.mark.parametrize("order", [1, 3])
def test_counts_say_what_they_say_of_a_stream(order, end):
    model = counted(order, KneserNey(), end)
    (found,) = read(model, [PLAIN], alternatives=4)
    log_p = model.fitted.log_probabilities(found.tokens)
    np.testing.assert_allclose(found.answers.log_probabilities, log_p, atol=1e-9)
    assert (found.answers.ranks >= 1).all()
    best = found.answers.of_likeliest
    assert (np.diff(best, axis=1) <= 0).all()
    first = found.answers.ranks == 1
    assert first.any()
    np.testing.assert_allclose(log_p[first], best[first, 0])


def test_what_cannot_be_has_no_probability_and_is_no_error():
    model = counted(2, MaximumLikelihood(), False)
    (found,) = read(model, ["moon. moon. the"])
    assert found.log_probability == -np.inf


def masked_by_hand(model, found, hides):
    """Hide tokens one text at a time, without any batch or padding."""
    told = []
    for place in found.scored:
        row = found.tokens.copy()
        row[hides(int(place))] = mask_id(model.tokenizer)
        row = row[:CONTEXT]
        segments = jnp.ones((1, len(row)), jnp.int32)
        logits, _ = logits_of(model, row, segments=segments)
        log_p = jax.nn.log_softmax(logits[0, place])
        told.append(float(log_p[found.tokens[place]]))
    return told


def test_pseudo_likelihoods_hide_what_their_names_say():
    model = encoder()
    (within,) = read(model, ["a dog"])
    words = {0: [0], 1: [1, 2, 3, 4], 2: [2, 3, 4], 3: [3, 4], 4: [4]}
    assert within.symbols == list("a dog")
    np.testing.assert_allclose(
        within.answers.log_probabilities,
        masked_by_hand(model, within, words.get),
        atol=1e-5,
    )
    (alone,) = read(model, ["a dog"], "tokens")
    np.testing.assert_allclose(
        alone.answers.log_probabilities,
        masked_by_hand(model, alone, lambda place: [place]),
        atol=1e-5,
    )
    assert within.log_probability != pytest.approx(alone.log_probability, abs=1e-3)


def test_words_of_one_token_have_one_pseudo_likelihood():
    model = encoder(Words())
    within, alone = (score(model, [PLAIN], f) for f in ("within-words", "tokens"))
    assert within == alone


def test_what_ends_documents_stands_around_a_masked_text_and_is_not_scored():
    (found,) = read(encoder(end=True), ["a dog"])
    assert found.symbols == ["<|end|>", *"a dog", "<|end|>"]
    assert list(found.scored) == [1, 2, 3, 4, 5]


def test_shared_tokens_are_those_of_both_sentences():
    model = encoder(Words())
    pair = "the cat sees the mouse.", "the cat eats the mouse."
    one, other = ask_shared(model, *pair)
    assert list(one.scored) == list(other.scored) == [0, 1, 3, 4]
    ((first, second),) = score_shared(model, [pair])
    (whole,) = read(model, pair[:1], "tokens")
    by_hand = np.delete(whole.answers.log_probabilities, 2).sum()
    assert first == pytest.approx(float(by_hand), abs=1e-4)
    assert score_shared(model, [pair[::-1], pair]) == [(second, first), (first, second)]


def test_equal_texts_have_equal_scores_in_any_order():
    model = decoder()
    texts = [PLAIN, "a dog eats", PLAIN, "my bird hears the"]
    found = score(model, texts)
    assert found[0] == found[2]
    assert score(model, texts[::-1]) == found[::-1]


def test_what_does_not_fit_is_refused():
    with pytest.raises(UserError, match="from left to right. There is: log-likelihood"):
        formulation_of(decoder(), "tokens")
    with pytest.raises(UserError, match="from both sides. There is: within-words"):
        formulation_of(encoder(), "log-likelihood")
    with pytest.raises(UserError, match="has no token"):
        ask(decoder(), [""], "log-likelihood")
    with pytest.raises(UserError, match="share no token"):
        ask_shared(encoder(Words()), "a dog", "the cat")


def test_subwords_know_their_words():
    model = encoder(Subwords(300))
    (asked,) = ask(model, [PLAIN], "within-words")
    symbols = model.tokenizer.symbols(asked.tokens)
    words = [
        "".join(symbols[i] for i in group).strip()
        for _, group in itertools.groupby(range(len(symbols)), lambda i: asked.words[i])
    ]
    assert words == ["the", "cat", "sees", "the", "mouse."]
