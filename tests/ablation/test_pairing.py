"""Two variants of a shipped experiment differ in what they say, and in nothing else.

Their texts are not all here: each is read from a small one in its place.
"""

import itertools
import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from lm_jax.data import (
    Answers,
    AnswerSpans,
    Conversations,
    Rated,
    RatedPairs,
    TextPairs,
)
from lm_jax.experiment import Experiment
from lm_jax.experiment.loading import load_file
from lm_jax.models.stack import initialise
from lm_jax.selectors import path_name
from lm_jax.text import Corpus
from lm_jax.tokenizers import Kept, Pretrained, Subwords, Words
from lm_jax.training import drawing
from lm_jax.training.setup import set_up
from tests.experiment import FILES
from tests.properties import slow_but
from tests.text.test_squad import article, asked, write_squad
from tests.tiny import TEXT


def variants(file):
    """The experiments of a file that are trained in steps, on a text and no run."""
    found = load_file(str(file)).experiments.values()
    trained = [each for each in found if isinstance(each, Experiment)]
    return [
        each
        for each in trained
        if not each.objective.guide and hasattr(each.data, "tokenizer")
    ]


COMPARED = [file for file in FILES if len(variants(file)) > 1]
QUICK = [file for file in COMPARED if file.stem in ("gpt_shakespeare", "cnn_trec")]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Sentences that any data value reads, each with a label, a number and another."""
    path = tmp_path_factory.mktemp("text") / "text.jsonl"
    told = [
        {"label": k % 3, "score": k / 9, "other": TEXT[k:][:90]} for k in range(150)
    ]
    answer = {"role": "assistant", "content": "me"}
    said = [[{"role": "user", "content": f"who {k}?"}, answer] for k in range(150)]
    rows = [
        {"text": f"{k} {TEXT[9 * k :][:200]}", "said": said[k], **told[k]}
        for k in range(150)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    passages = [TEXT[9 * k :][:200] for k in range(30)]
    answered = [asked(f"q{k}", (passage[:9], 0)) for k, passage in enumerate(passages)]
    whole = zip(passages, answered, strict=True)
    articles = (article(qa["id"], qa, text=passage) for passage, qa in whole)
    write_squad(path.with_suffix(".json"), *articles)
    return path


def set_up_on(text, experiment):
    """Of one layer, so that it takes no minute; widths are as they are."""
    spans = isinstance(experiment.data, AnswerSpans)
    path = text.with_suffix(".json") if spans else text
    data = replace(experiment.data, corpus=Corpus(str(path), validation=0.3))
    if isinstance(data.tokenizer, Subwords):
        data = replace(data, tokenizer=Subwords(300))
    if isinstance(data.tokenizer, Kept | Pretrained):  # what is not here
        data = replace(data, tokenizer=Words())
    if isinstance(data, TextPairs):
        data = replace(data, target="other")
    if isinstance(data, Answers):
        data = replace(data, answer="other")
    if isinstance(data, Conversations):
        pytest.importorskip("jinja2")
        data = replace(data, corpus=replace(data.corpus, column="said"))
    if isinstance(data, Rated | RatedPairs):
        data = replace(data, pair="other")
    if isinstance(data, RatedPairs):
        data = replace(data, scale=(0.0, 20.0))
    model, watch = experiment.model, experiment.watch
    if hasattr(model, "layers"):
        model = model.clone(layers=1)
    watched = {watch: experiment.evaluations[watch]}
    small = replace(
        experiment,
        data=data,
        model=model,
        initial=None,  # what is begun with, and adapted, lies elsewhere
        adapter=None,
        evaluations=watched,
        budget="10000 steps",  # of which any warmup is a part
    )
    return set_up(small, jax.devices()[:1], text.parent / "cache")


def first_values(setup):
    """What draws each parameter, by path and shape: nothing is compiled or drawn."""

    def make(key):
        predict = setup.experiment.objective.predict
        return initialise(setup.model, key, setup.example, method=predict)

    shapes, _, programs = drawing.programs(make, jax.random.key(0))
    found = {}
    leaves = jax.tree_util.tree_leaves_with_path(shapes)
    for (path, leaf), (jaxpr, numbers) in zip(leaves, programs, strict=True):
        read = {id(var) for eqn in jaxpr.eqns for var in eqn.invars}
        assert not read & set(map(id, jaxpr.constvars))
        text = str(jaxpr.replace(constvars=[]))
        found[path_name(path), leaf.shape] = text, [int(n) for n in numbers]
    return found


@pytest.mark.parametrize(
    "file", slow_but(COMPARED, *QUICK), ids=lambda file: getattr(file, "stem", None)
)
def test_variants_see_the_same_rows_and_begin_with_the_same_values(file, text):
    setups = [set_up_on(text, each) for each in variants(file)]
    # What begins alike is looked at once.
    begun = {(s.model, s.experiment.objective): s for s in setups}
    values = {key: first_values(setup) for key, setup in begun.items()}
    drawn = [values[s.model, s.experiment.objective] for s in setups]
    pairs = itertools.combinations(zip(setups, drawn, strict=True), 2)
    for (one, of_one), (other, of_other) in pairs:
        a, b = one.experiment, other.experiment
        bodies = [getattr(each.model, "body", each.model) for each in (a, b)]
        alike = type(bodies[0]) is type(bodies[1])
        sized = [getattr(body, "initial", None) for body in bodies]
        wide = [getattr(each.model, "width", None) for each in (a, b)]
        assert set(of_one) & set(of_other) or not alike or wide[0] != wide[1]
        for name in set(of_one) & set(of_other):
            (text_a, noise_a), (text_b, noise_b) = of_one[name], of_other[name]
            assert noise_a == noise_b, name
            # An LSTM's values have another distribution than a Transformer's, muP's
            # another size than GPT-2's.
            assert text_a == text_b or not alike or sized[0] != sized[1], name
        if (a.data, a.batch) == (b.data, b.batch):
            for step in (0, 1, 7):
                there = other.order.batch(step)
                for field, rows in one.order.batch(step).items():
                    np.testing.assert_array_equal(rows, there[field], field)
