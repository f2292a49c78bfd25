"""A split whose targets weigh nothing is refused: its loss is not 0."""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import get_args

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_jax.__main__ import main
from lm_jax.data import (
    CarriedStream,
    Cooccurrences,
    HuffmanTree,
    Labelled,
    MaskedStream,
    Mixture,
    Noise,
    SpanCorruption,
    TokenStream,
    WordContexts,
)
from lm_jax.errors import UserError
from lm_jax.experiment import load
from lm_jax.mesh import make_mesh
from lm_jax.models import (
    ConvEncoder,
    Encoder,
    EncoderDecoder,
    GlobalVectors,
    Recurrent,
    Transformer,
    WordVectors,
)
from lm_jax.objectives import (
    BagOfWords,
    Classify,
    Distil,
    GloVe,
    MaskedTokens,
    NextToken,
    Objective,
    Seq2Seq,
    SkipGram,
)
from lm_jax.runs.model import NeuralModel
from lm_jax.sharding import Sharding
from lm_jax.text import Corpus
from lm_jax.tokenizers import Characters, Words
from lm_jax.training import resolved
from lm_jax.training import setup as room
from lm_jax.training.checks import check_targets
from lm_jax.training.scoring import Scored
from tests.properties import quick
from tests.tiny import TEXT, write_tiny

FOLDER, WHOLE = Corpus("texts"), {"context": 16, "whole_words": True}
SMALL = {"layers": 1, "heads": 2, "width": 16}
ALONE = "\n".join(f"{a}{b}" for a in "abcdefgh" for b in "stuvwxyz") * 2
LONG = "abcdefgh" * 40


def contexts(**fields):
    noise = Noise(2, shared=4, group=16)
    fields = {"window": 2, "subsample": 0.0, "targets": noise, "words": 16} | fields
    return WordContexts(FOLDER, **fields)


PAIRS = Cooccurrences(FOLDER, Words(), 2, pairs=16)
VECTORS, MASKED = WordVectors(8), MaskedStream(FOLDER, Characters(True), **WHOLE)
# (data, model, objective, text of a split without targets)
CASES = {
    "skip-gram": (contexts(), VECTORS, SkipGram(), ALONE),
    "a tree": (contexts(targets=HuffmanTree()), VECTORS, SkipGram(), ALONE),
    "CBOW": (contexts(), VECTORS, BagOfWords(), ALONE),
    "unknown words between": (contexts(), VECTORS, BagOfWords(), "the é è ê\ndog ë\n"),
    "GloVe": (PAIRS, GlobalVectors(8), GloVe(), ALONE),
    "whole words": (MASKED, Encoder(**SMALL), MaskedTokens(), LONG),
}


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts").mkdir()
    for name in ("train", "valid", "test"):
        write(name, f"{TEXT}\n{ALONE}\n{LONG}\n")
    return load("tiny.py").experiment


def write(name, text):
    Path(f"texts/{name}.txt").write_text(text)


def refusal(experiment, monkeypatch):
    """What setting an experiment up is refused with, before anything is shaped."""
    monkeypatch.setattr(resolved, "initialise", None)
    with pytest.raises(UserError) as error:
        room.set_up(experiment, cache=Path("cache"))
    return str(error.value)


@pytest.mark.parametrize(
    ("case", "split"),
    [
        *((case, "validation") for case in CASES),
        *((case, "train") for case in CASES if case != "unknown words between"),
    ],
)
def test_a_split_without_targets_is_refused(case, split, experiment, monkeypatch):
    data, model, objective, text = CASES[case]
    write({"train": "train", "validation": "valid"}[split], text)
    said = refusal(
        replace(experiment, data=data, model=model, objective=objective), monkeypatch
    )
    if case == "GloVe" and split == "train":
        assert "No two known words of the split 'train' meet" in said
    else:
        assert f"The split '{split}' has nothing to predict: " in said
        assert objective.nothing in said


known = st.sampled_from(["the", "cat", "dog", "é"])
lines = st.lists(st.lists(known, max_size=3).map(" ".join), min_size=3, max_size=5)


@pytest.mark.parametrize("glove", [False, True])
def test_what_is_refused_is_what_has_no_pair(glove, experiment):
    objective, data = (GloVe(), PAIRS) if glove else (SkipGram(), contexts())

    @settings(quick, max_examples=12)
    @given(lines)
    def held_out(lines):
        write("valid", "\n".join(lines))
        made = data.prepare(Path("cache"))
        order, held = made.order(0, 2), made.evaluation("validation", 1)
        pairs = any(len(line.replace("é", "").split()) > 1 for line in lines)
        try:
            check_targets(objective, order, held)
        except UserError:
            assert not pairs
        else:
            assert pairs

    held_out()


def test_lanes_that_are_empty_are_no_empty_split(experiment):
    """Three tokens in ten lanes: most lanes have none, and two are predicted."""
    write("valid", "the")
    data = CarriedStream(FOLDER, Characters(), 16)
    room.set_up(replace(experiment, data=data, model=Recurrent(width=8)))


def test_words_that_are_all_thinned_out_are_refused(experiment, monkeypatch):
    data = contexts(subsample=1e-12)
    thinned = replace(experiment, data=data, model=VECTORS, objective=SkipGram())
    said = refusal(thinned, monkeypatch)
    assert "The split 'train' has nothing to predict" in said
    assert "data.subsample" in said


def test_parts_of_one_token_are_refused(experiment, monkeypatch):
    """Two tokens of which neither follows the other."""
    for name in ("a", "b"):
        Path(name).mkdir()
        Path(name, "train.txt").write_text(TEXT)
        Path(name, "valid.txt").write_text("t")
    parts = tuple(TokenStream(Corpus(n), Characters(), 16) for n in ("a", "b"))
    mixed = replace(experiment, data=Mixture(parts, (1.0, 1.0)))
    assert "The split 'validation' has nothing" in refusal(mixed, monkeypatch)


class Unmarked:
    """Data in whose rows nothing counts: their "mask" is 0 everywhere."""

    def __init__(self, data):
        self.data = data

    def prepare(self, cache, progress=None):
        made = self.data.prepare(cache, progress)

        def windows(split, batch):
            held = made.windows(split, batch)

            def row(index):
                found = held.row(index)
                return found | {"mask": np.zeros_like(found["mask"])}

            return replace(held, row=row)

        return replace(made, windows=windows)


@pytest.mark.parametrize(
    ("data", "model", "objective"),
    [
        (TokenStream(FOLDER, Characters(), 16), Transformer(**SMALL), NextToken()),
        (MaskedStream(FOLDER, Characters(), 16), Encoder(**SMALL), MaskedTokens()),
        (SpanCorruption(FOLDER, Characters(), 32), EncoderDecoder(**SMALL), Seq2Seq()),
        pytest.param(
            Labelled(Corpus("labelled")),
            ConvEncoder(),
            Classify(),
            marks=pytest.mark.slow,  # It imports the reader of tables.
        ),
    ],
)
def test_data_of_ones_own_that_masks_all_is_refused(
    data, model, objective, experiment, monkeypatch
):
    rows = "".join(
        f'{{"text": "a b {i % 7}", "label": "{i % 2}"}}\n' for i in range(99)
    )
    Path("labelled").mkdir()
    for name in ("train", "valid"):
        Path(f"labelled/{name}.jsonl").write_text(rows)
    fields = {"data": Unmarked(data), "model": model, "objective": objective}
    said = refusal(replace(experiment, **fields), monkeypatch)
    assert f"The split 'validation' has nothing to predict: {objective.nothing}" in said


@pytest.mark.parametrize("kind", get_args(Objective), ids=lambda kind: kind.__name__)
def test_a_weight_of_nothing_is_no_score(kind, experiment):
    """Where no field tells before: what the objective added up is looked at."""
    objective = Distil(teacher="nowhere") if kind is Distil else kind()
    assert objective.weighs in (*objective.reads, *objective.may_read, "")
    experiment = replace(experiment, objective=objective)
    data = experiment.data.prepare(Path("cache"))
    loaded = NeuralModel(experiment, data.tokenizer, experiment.model, {}, 16, 1)
    zeros = defaultdict(lambda: np.float32(0), weight=np.float32(0))
    scored = Scored(
        loaded,
        data,
        make_mesh(Sharding(), jax.devices()),
        lambda params, batch, carry: (zeros, None),
    )
    with pytest.raises(UserError, match="'validation' has nothing to predict: ") as e:
        scored.score("validation")
    assert objective.nothing in str(e.value)


SKIPGRAM = """
from dataclasses import replace
from tiny import experiment
from lm_jax.data import Noise, WordContexts
from lm_jax.evaluation import Likelihood
from lm_jax.models import WordVectors
from lm_jax.objectives import SkipGram
from lm_jax.text import Corpus

data = WordContexts(
    Corpus("texts"), window=2, targets=Noise(2, shared=4, group=16), words=16
)
experiment = replace(
    experiment,
    data=data,
    model=WordVectors(8),
    objective=SkipGram(),
    budget="2 steps",
    evaluations={"likelihood": Likelihood("2 steps")},
    average=None,
    outputs=(),
)
"""


@pytest.mark.slow
def test_evaluate_names_the_split(experiment, capsys, monkeypatch):
    monkeypatch.syspath_prepend(".")
    Path("skipgram.py").write_text(SKIPGRAM)
    write("test", ALONE)
    Path("alone.txt").write_text(ALONE)
    assert main(["train", "skipgram.py", "--run", "run"]) == 0
    before = Path("run/result.json").read_bytes()
    for args in (["--split", "test"], ["--corpus", "alone.txt"]):
        capsys.readouterr()
        assert main(["evaluate", "run", *args]) == 2
        error = " ".join(capsys.readouterr().err.split())
        split = "test" if "test" in args else "train"
        assert f"The split '{split}' has nothing to predict: no two known" in error
    assert Path("run/result.json").read_bytes() == before
