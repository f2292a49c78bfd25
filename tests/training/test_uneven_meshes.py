"""Meshes of threes and twos begin as one device does, family by family."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from lm_jax.data import (
    Cooccurrences,
    Labelled,
    Noise,
    Passages,
    WordContexts,
)
from lm_jax.experiment import load
from lm_jax.experiment.overrides import override
from lm_jax.models import (
    BiEncoder,
    Classifier,
    Encoder,
    GlobalVectors,
    WordVectors,
)
from lm_jax.objectives import Classify, GloVe, InfoNCE, SkipGram
from lm_jax.text import Collection, Corpus
from lm_jax.tokenizers import Words
from lm_jax.training.setup import set_up
from tests.data.test_labelled import write_table
from tests.retrieval import write_collection
from tests.tiny import write_tiny

DECODER = "--data.context 18 --model.width 24 --model.heads 3 "
DRAWN = Noise(negatives=2, shared=4, group=6)
THREE = {"layers": 1, "heads": 3, "width": 24}
OTHERS = {
    "classifier": {
        "data": Labelled(Corpus("table.jsonl"), Words(), "kind", (6, 12)),
        "model": Classifier(Encoder(**THREE)),
        "objective": Classify(),
    },
    "bi-encoder": {
        "data": Passages(Collection("found"), Words(), 6, (6, 12)),
        "model": BiEncoder(Encoder(**THREE)),
        "objective": InfoNCE(),
    },
    "word vectors": {
        "data": WordContexts(Corpus("text.txt"), targets=DRAWN, words=12),
        "model": WordVectors(24),
        "objective": SkipGram(),
    },
    "glove": {
        "data": Cooccurrences(Corpus("text.txt"), pairs=12),
        "model": GlobalVectors(24),
        "objective": GloVe(),
    },
}


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """Set up what a family learns from, on some devices."""
    write_tiny(tmp_path)
    write_table(tmp_path / "table.jsonl")
    write_collection(tmp_path / "found")
    monkeypatch.chdir(tmp_path)

    def prepare(name, args, devices):
        experiment = load("tiny.py").experiment
        if name in OTHERS:
            plain = {"likelihood": experiment.evaluations["likelihood"]}
            experiment = replace(experiment, evaluations=plain, **OTHERS[name])
        else:
            args = DECODER + args
        words = f"--batch 12 {args}".split()
        return set_up(override(experiment, words, "train"), jax.devices()[:devices])

    return prepare


@pytest.mark.slow
@pytest.mark.parametrize("name", ["decoder", *OTHERS])
def test_first_values_and_batches_are_the_same_on_meshes_of_any_sizes(name, prepared):
    """Six devices, by threes and twos, begin as one does."""
    one = prepared(name, "", 1)
    for axes in ("--fsdp 3 --sequence 2", "--tensor 3 --replica 2 --rule-set zero1"):
        many = prepared(name, axes, 6)
        jax.tree.map(
            np.testing.assert_array_equal,
            jax.device_get(many.first_state().params),
            jax.device_get(one.first_state().params),
        )
        for step in (0, 5):
            rows = [each.order.batch(step) for each in (many, one)]
            jax.tree.map(np.testing.assert_array_equal, *rows)
