"""Every family goes through the same commands, from a file to its scores."""

import re

import numpy as np
import pytest

from lm_jax.__main__ import main
from lm_jax.runs.result import find_scores, read_result
from lm_jax.training import run
from tests.properties import slow_but
from tests.tiny import TEXT

FAMILIES = """
from dataclasses import replace

from lm_jax.counting import KneserNey, NGram
from lm_jax.data import *
from lm_jax.text import *
from lm_jax.tokenizers import *
from lm_jax.evaluation import Likelihood, Sample
from lm_jax.experiment import CountExperiment, Execution, Experiment
from lm_jax.models import *
from lm_jax.objectives import *
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine

text, sample = Corpus("text.txt"), Sample(prompt="the ", length=12)
once = {"likelihood": Likelihood(), "sample": sample}
characters, words = Characters(), Words()
small = {"layers": 1, "heads": 2, "width": 16}
experiment = Experiment(
    data=TokenStream(text, characters, 16),
    model=GatedConv(layers=2, width=16, kernel=3),
    objective=NextToken(),
    optimizer=AdamW(),
    schedule=WarmupCosine(peak=1e-2),
    batch=8,
    budget="4 steps",
    evaluations={"likelihood": Likelihood("2 steps"), "sample": sample},
    outputs=(),
)
skipgram = replace(
    experiment,
    data=WordContexts(text, words, 2, 0.0, Noise(2, shared=4, group=16), words=16),
    model=WordVectors(8),
    objective=SkipGram(),
)
variants = {
    "ngram": CountExperiment(experiment.data, NGram(3, KneserNey()), evaluations=once),
    "linear": replace(
        experiment,
        model=Transformer(**small, positions=NoPositions(), mixer=GatedLinear(chunk=8)),
    ),
    "moe": replace(
        experiment,
        model=Transformer(**small, feedforward=MoE(experts=4, k=2), dropout=0.1),
        batch=16,
        execution=Execution(accumulate=2),
    ),
    "bert": replace(
        experiment,
        data=MaskedStream(text, characters, 16),
        model=Encoder(**small),
        objective=MaskedTokens(),
    ),
    "t5": replace(
        experiment,
        data=SpanCorruption(text, characters, 32),
        model=EncoderDecoder(**small),
        objective=Seq2Seq(),
    ),
    "skipgram": skipgram,
    "cbow": replace(skipgram, objective=BagOfWords()),
    "tree": replace(skipgram, data=replace(skipgram.data, targets=HuffmanTree())),
    "glove": replace(
        skipgram,
        data=Cooccurrences(text, words, 2, pairs=16),
        model=GlobalVectors(8),
        objective=GloVe(),
    ),
}
"""
WRITES = ("base", "ngram", "linear", "moe")
VECTORS = ("skipgram", "glove")


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    (tmp_path / "text.txt").write_text("\n".join([TEXT] * 3))
    (tmp_path / "families.py").write_text(FAMILIES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LM_JAX_DATA", raising=False)


def said_by(capsys, *args):
    code = main(list(args))
    out = capsys.readouterr()
    return code, out.out, " ".join(out.err.split())


@pytest.mark.parametrize(
    "name",
    slow_but(["base", *re.findall(r'^    "(\w+)":', FAMILIES, re.M)], "ngram"),
)
def test_a_family_trains_scores_and_writes(name, capsys, tmp_path, monkeypatch):
    made, make = [], run.Compiled
    monkeypatch.setattr(
        run, "Compiled", lambda setup: made.append(make(setup)) or made[-1]
    )
    file = "families.py" if name == "base" else f"families.py:{name}"
    code, said, error = said_by(capsys, "train", file, "--run", "run")
    assert code == 0, error
    # No family's step compiles twice.
    assert [compiled.step._cache_size() for compiled in made] == [1] * (name != "ngram")
    assert "Validation loss" in said
    if name in WRITES:
        assert said.index("\n  model  ") < said.index("the model writes")
    result = read_result(tmp_path / "run")
    assert 0 < find_scores(result, "validation", "end")["loss"] < 20
    code, said, _ = said_by(capsys, "evaluate", "run")
    assert code == 0 and f"{result['best']['loss']:.6f}" in said
    code, said, error = said_by(capsys, "generate", "run", "--length", "5")
    if name in WRITES:
        assert code == 0 and said.startswith("the ")
    elif name == "t5":
        source = "the cat <span_0> the mouse"
        code, said, error = said_by(capsys, "generate", "run", "--prompt", source)
        assert code == 0 and said.strip() and source not in said, error
        searched = ("--beam.size", "3", "--beam.best", "2", "--length", "9")
        code, said, error = said_by(
            capsys, "generate", "run", "--prompt", source, *searched
        )
        assert code == 0 and "--- best 2, score -" in said, error
        code, _, error = said_by(capsys, "chat", "run")
        assert code == 2 and "writes a text from another one" in error
    else:
        assert code == 2 and "doesn't continue text" in error
    if name != "ngram":
        code, said, _ = said_by(capsys, "inspect", "run", "--row", "1")
        assert code == 0 and "'" in said
    if name in VECTORS:
        code, said, error = said_by(capsys, "vectors", "run", "--out", "vectors.txt")
        assert code == 0, error
        rows, width = (tmp_path / "vectors.txt").read_text().split("\n")[0].split()
        assert int(rows) > 10 and width == "8"


@pytest.mark.slow
def test_ids_train_and_are_continued_without_their_text(capsys, tmp_path):
    cycle = np.tile([1, 2, 3, 4, 5, 6], 300).astype("<u2")
    for name in ("train", "val", "other"):
        (tmp_path / "ids" / name).parent.mkdir(exist_ok=True)
        (tmp_path / ("" if name == "other" else "ids") / f"{name}.bin").write_bytes(
            cycle[: None if name == "train" else 200].tobytes()
        )
    code, said, error = said_by(
        capsys,
        *("train", "families.py", "--run", "run", "--data.corpus.source", "ids"),
        *("--data.tokenizer", "Ids", "--data.tokenizer.size", "7"),
        *("--data.tokenizer.end", "None", "--budget", "60 steps"),
        *("--evaluations.sample.prompt", "1 2 3", "--evaluations.sample.every"),
        *("60 steps", "--evaluations.likelihood.every", "60 steps"),
    )
    assert code == 0, error
    assert "bits per byte" not in said
    code, said, error = said_by(
        capsys,
        *("generate", "run", "--prompt", "3 4", "--length", "5", "--temperature", "0"),
    )
    assert code == 0 and said.split() == [*"3456123"], error
    code, said, error = said_by(capsys, "evaluate", "run", "--corpus", "other.bin")
    assert code == 0 and "199 tokens of ids without their text" in said
    code, _, error = said_by(capsys, "evaluate", "run", "--corpus", "text.txt")
    assert code == 2 and "is no id: this tokenizer knows ids alone" in error


@pytest.mark.slow
def test_a_neural_cache_is_for_models_that_carry_their_state(capsys):
    assert said_by(capsys, "train", "families.py", "--run", "run")[0] == 0
    code, _, error = said_by(capsys, "evaluate", "run", "--cache", "10")
    assert code == 2 and "CarriedStream" in error


def test_what_cannot_be_counted_leaves_no_run(capsys, tmp_path):
    order = ("--model.order", "5000000", "--run", "new")
    code, said, error = said_by(capsys, "train", "families.py:ngram", *order)
    assert code == 2 and "lower order" in error and not said
    (tmp_path / "text.txt").write_text("a" * 3000)
    for file in ("families.py:ngram", "families.py"):
        code, _, error = said_by(capsys, "train", file, "--run", "new")
        assert code == 2 and "nothing to predict" in error
    assert not (tmp_path / "new").exists()


def test_vectors_are_scored_or_written(capsys):
    code, _, error = said_by(capsys, "vectors", "none.txt")
    assert code == 2
    with open("v.txt", "w") as file:
        file.write("a 1.0 2.0\nb 0.5 0.1\n")
    code, _, error = said_by(capsys, "vectors", "v.txt")
    assert code == 2 and "LM_JAX_DATA" in error
