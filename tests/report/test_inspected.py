"""What is shown of a text: what was found, blank where nothing is, and escaped."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest

from lm_jax.commands.as_json import print_json
from lm_jax.errors import UserError
from lm_jax.inspection.inspecting import inspect
from lm_jax.models import BagOfVectors, Classifier, Encoder, Mean, Transformer
from lm_jax.report.inspected import as_object, lines, rows
from lm_jax.report.inspected_page import inspected_page
from lm_jax.tokenizers import Characters
from tests.inspection.made import SMALL, classifier, decoder, encoder
from tests.report.test_page import Parsed
from tests.tiny import TEXT

STRANGE = "<b>&\"'\n<script>"
TEXTS = {"decoder": "the cat", "encoder": "the cat", "classifier": "the cat sees"}
MODELS = {
    "decoder": decoder,
    "encoder": encoder,
    "classifier": lambda: classifier(Classifier(Encoder(**SMALL), Mean())),
}


def printed(found):
    return ["".join(text for text, _ in line).rstrip() for line in lines(found)]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_lines_fit_and_have_every_token(name):
    found = inspect(MODELS[name](), [TEXTS[name]])
    said = printed(found)
    assert max(map(len, said)) <= 80
    symbols = found.symbols if found.reading else TEXTS[name].split()
    assert len(said) == 1 + len(symbols)
    for line, symbol in zip(said[1:], symbols, strict=True):
        assert line.startswith(symbol.rstrip())


def test_the_figures_are_those_that_were_found():
    found = inspect(decoder(), ["cat"], alternatives=2)
    first, *scored = printed(found)[1:]
    assert first == ""  # a space, that has no probability
    for line, log_p, rank in zip(
        scored,
        found.reading.answers.log_probabilities,
        found.reading.answers.ranks,
        strict=True,
    ):
        p, nats, place = line[5:].split()[:3]
        assert float(p) == pytest.approx(math.exp(log_p), rel=0.5, abs=1e-4)
        assert float(nats) == pytest.approx(-log_p, abs=6e-3)
        assert int(place) == rank
    facts = dict(rows(found))
    total = found.reading.log_probability
    assert facts["log-probability"].startswith(f"{total:.6f} nats; ")
    assert facts["tokens"] == "4, of which 3 are scored"
    nothing = inspect(decoder(), [" "])
    assert "log-probability" not in dict(rows(nothing))
    assert as_object(nothing)["log_probability"] is None
    with pytest.raises(UserError, match="--label 'x': this model tells no classes"):
        inspect(decoder(), ["cat"], label="x")


def test_the_object_adds_up_and_has_nothing_for_what_is_not_scored(capsys):
    print_json(as_object(inspect(decoder(), ["the cat"], 3, attention=True)))
    made = json.loads(capsys.readouterr().out)
    values = [token["log_probability"] for token in made["tokens"]]
    assert values[0] is None and None not in values[1:]
    assert sum(values[1:]) == pytest.approx(made["log_probability"], abs=1e-5)
    assert [len(token["likeliest"]) for token in made["tokens"]] == [0] + [3] * 7
    assert np.shape(made["attention"]) == (2, 2, 8, 8)
    assert made["formulation"].startswith("log-likelihood")


def test_a_decision_is_told_with_its_gap(capsys):
    found = inspect(MODELS["classifier"](), ["the cat sees"], label="bad")
    made = as_object(found)
    values = [word["integrated_gradients"] for word in made["words"]]
    assert [word["word"] for word in made["words"]] == ["the", "cat", "sees"]
    off = abs(sum(values) - made["difference_from_baseline"])
    wanted = off / abs(made["difference_from_baseline"])
    assert made["gap"] == pytest.approx(wanted, rel=1e-3, abs=1e-6)
    assert sum(made["probabilities"].values()) == pytest.approx(1)
    assert made["explained"] == "bad"
    warned = found._replace(decision=found.decision._replace(difference=100.0))
    assert "WARNING" not in dict(rows(found))["integrated"]
    assert "WARNING: more than 1%" in dict(rows(warned))["integrated"]


@pytest.mark.parametrize("name", MODELS)
def test_the_page_fetches_nothing_and_shows_each_token(name):
    found = inspect(MODELS[name](), [TEXTS[name]], attention=True)
    text = inspected_page(found, "a run")
    parsed = Parsed(text)
    (policy,) = re.findall(r'content="(default-src[^"]*)"', text)
    assert policy.startswith("default-src 'none';") and "script" not in policy
    assert not parsed.all("script") and not parsed.all("link")
    assert all(each["src"].startswith("data:image/png") for each in parsed.all("img"))
    assert len(parsed.all("img")) == 4
    tokens = [each for each in parsed.all("span") if each["class"][:1] == "t"]
    shown = found.symbols if found.reading else TEXTS[name].split()
    assert len(tokens) == len(shown)
    assert all(each["tabindex"] == "0" for each in tokens)
    blank = [each for each in tokens if "blank" in each["class"]]
    assert len(blank) == (name == "decoder")


def test_a_likelier_token_is_cooler():
    found = inspect(decoder(), ["the cat sees"])
    tokens = Parsed(inspected_page(found, "")).all("span")
    heats = [
        float(re.search(r"--a:([\d.]+)", each["style"])[1])
        for each in tokens
        if "style" in each
    ]
    log_p = found.reading.answers.log_probabilities
    order = np.argsort(-log_p)
    assert len(heats) == len(log_p) and (np.diff(np.array(heats)[order]) >= 0).all()


def test_whatever_a_text_holds_is_text():
    tokenizer = Characters().train([TEXT + STRANGE])
    model = decoder(tokenizer=tokenizer)
    found = inspect(model, [STRANGE])
    text = inspected_page(found, "<i>")
    assert "<script" not in text and ">&'" not in text
    assert "&lt;" in text and "&amp;" in text
    assert "<i>" in Parsed(text).words and len(Parsed(text).all("br")) >= 1


def test_a_pair_and_a_plain_sum_of_vectors():
    body = Classifier(BagOfVectors(width=8), Mean(), apart=True)
    model = classifier(body, pair="second")
    found = inspect(model, ["the cat", "a dog"])
    assert len(printed(found)) == 1 + 6
    assert replace(model) and "Green" in inspected_page(found, "a pair")


def test_maps_are_of_what_was_read():
    model = decoder(Transformer(**SMALL))
    found = inspect(model, ["the cat"], attention=True)
    assert found.maps.shape[-1] == len(found.symbols)
