"""From texts with labels to scores of each text: what a run of them must hold."""

import json
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from matplotlib import image

from lm_jax import load_model
from lm_jax.__main__ import main
from lm_jax.experiment import load
from lm_jax.experiment.overrides import override
from lm_jax.runs.result import read_result
from lm_jax.selectors import path_name
from lm_jax.training.setup import set_up
from tests.data.test_labelled import write_table
from tests.data.test_pairs import write_pairs

EXPERIMENT = '''"""Tell colours apart.

Run:     ./launch.sh train colours.py
Expect:  nothing
Source:  none
"""

from dataclasses import replace

from lm_jax.counting import NaiveBayes
from lm_jax.data import Labelled, Rated, TokenStream
from lm_jax.evaluation import ClassScores, Correlation, Likelihood
from lm_jax.experiment import CountExperiment, Experiment
from lm_jax.models import *
from lm_jax.objectives import Classify, NextToken, Regress
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Kept, Words

table, small = Corpus("table.jsonl", validation=0.2), {"layers": 1, "width": 8}
experiment = Experiment(
    data=Labelled(table, Words(), "kind", (4, 8)),
    model=Classifier(Transformer(heads=2, **small), Last()),
    objective=Classify(),
    optimizer=AdamW(),
    schedule=WarmupCosine(peak=1e-2, warmup="2 steps"),
    batch=16,
    budget="4 epochs",
    evaluations={"likelihood": Likelihood("2 epochs"), "classes": ClassScores()},
    outputs=(),
)
body = replace(
    experiment,
    data=TokenStream(table, Words(), 4),
    model=Recurrent(**small),
    objective=NextToken(),
    budget="3 steps",
    evaluations={"likelihood": Likelihood("3 steps")},
)
adapted = replace(
    experiment,
    data=replace(experiment.data, tokenizer=Kept("body")),
    model=Classifier(Recurrent(**small), Max()),
    budget="4 steps",
)
pairs = Corpus("pairs.jsonl", column="one", validation=0.2)
variants = {
    "body": body,
    "adapted": adapted,
    "counted": CountExperiment(
        experiment.data,
        NaiveBayes(1),
        evaluations={"likelihood": Likelihood(), "classes": ClassScores()},
    ),
    "rated": replace(
        experiment,
        data=Rated(pairs, Words(), "how", (8, 16), "two"),
        model=Classifier(BagOfVectors(8), Mean()),
        objective=Regress(),
        evaluations={"likelihood": Likelihood("2 epochs"), "r": Correlation()},
    ),
}
'''


def write_all(folder):
    write_table(folder / "table.jsonl", 90)
    write_pairs(folder / "pairs.jsonl")
    (folder / "colours.py").write_text(EXPERIMENT)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Runs that tests look at, made once."""
    folder, here = tmp_path_factory.mktemp("runs"), Path.cwd()
    write_all(folder)
    os.chdir(folder)
    try:
        for name in ("", ":counted", ":body", ":rated"):
            run = name[1:] or "told"
            assert main(["train", f"colours.py{name}", "--run", run]) == 0
    finally:
        os.chdir(here)
    return folder


@pytest.fixture
def folder(trained, tmp_path, monkeypatch):
    shutil.copytree(trained, tmp_path / "all")
    monkeypatch.chdir(tmp_path / "all")
    return tmp_path / "all"


def lines_of(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("run", ["told", "counted"])
def test_scores_and_predictions_are_of_every_text_once(run, folder, capsys):
    result = read_result(Path(run))
    [entry] = [e for e in result["scores"] if e["evaluation"] == "classes"]
    [whole] = [e for e in result["scores"] if e["evaluation"] == "likelihood"]
    asked = ["evaluate", run, "--evaluation", "classes", "--predictions", "p.jsonl"]
    assert main(asked) == 0
    rows, counts = lines_of("p.jsonl"), np.array(entry["confusion"]["counts"])
    assert [row["text"] for row in rows] == list(range(1, len(rows) + 1))
    assert counts.sum() == len(rows) > 10
    names = entry["confusion"]["labels"]
    told = np.zeros_like(counts)
    for row in rows:
        told[names.index(row["label"]), names.index(row["predicted"])] += 1
    np.testing.assert_array_equal(told, counts)
    right = np.trace(counts) / counts.sum()
    assert entry["scores"]["accuracy"] == pytest.approx(right)
    assert whole["scores"]["accuracy"] == pytest.approx(right)
    assert set(entry["scores"]) >= {"macro_f1", "matthews", "calibration_error"}
    picture = image.imread(f"{run}/confusion_validation.png")
    assert picture.std() > 0.1
    # Killed after its result, and before that was drawn.
    Path(f"{run}/confusion_validation.png").unlink()
    name = "colours.py:counted" if run == "counted" else "colours.py"
    assert main(["train", name, "--run", run]) == 0
    again = image.imread(f"{run}/confusion_validation.png")
    np.testing.assert_array_equal(again, picture)
    assert main(["evaluate", run, "--predictions", "p.csv"]) == 2
    assert "written as .jsonl or .tsv" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("run", ["told", "counted"])
def test_labels_of_another_text_mean_what_they_did(run, folder, capsys):
    """Though it lacks the class that comes first, and has the others turned round."""
    rows = lines_of("table.jsonl")
    few = [row for row in reversed(rows) if row["kind"] != "red"]
    other = "".join(json.dumps(row) + "\n" for row in few)
    Path("other.jsonl").write_text(other)
    for corpus in ("table", "other"):
        asked = ["evaluate", run, "--corpus", f"{corpus}.jsonl"]
        assert main([*asked, "--predictions", f"{corpus}-said.jsonl"]) == 0
    said = zip(rows, lines_of("table-said.jsonl"), strict=True)
    of = {row["text"]: found | {"text": 0} for row, found in said}
    for row, found in zip(few, lines_of("other-said.jsonl"), strict=True):
        assert found["label"] == row["kind"]
        again = of[row["text"]]
        assert found["predicted"] == again["predicted"]
        assert found["probability"] == pytest.approx(again["probability"], abs=1e-4)
    Path("other.jsonl").write_text('{"text": "red n3", "kind": "pink"}\n' * 9)
    assert main(asked) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "labels that are none of the classes: pink" in said


def by_path(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {path_name(path): np.asarray(leaf) for path, leaf in leaves}


@pytest.mark.slow
def test_a_classifier_begins_with_the_body_of_a_run(folder, capsys):
    """Bit for bit, and what it has no use for is named."""
    begun = ["train", "colours.py:adapted", "--from", "body", "--run", "next"]
    assert main(begun) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "class_head/kernel: the run has none" in said
    assert "lm_head_bias: of the run, and of no use here" in said
    named = ["--initial.new", "class_head", "--initial.dropped", "lm_head"]
    asked = ["--initial", "FromRun", "--initial.run", "body", *named]
    experiment = override(load("colours.py:adapted").experiment, asked, "train")
    first = by_path(set_up(experiment).first_state().params)
    there = by_path(load_model("body").params)
    body = {path for path in there if not path.startswith("lm_head")}
    assert first.keys() - body == {"class_head/kernel", "class_head/bias"}
    for path in body:
        np.testing.assert_array_equal(first[path], there[path])
    assert main([*begun, *named]) == 0
    assert main(["evaluate", "next"]) == 0
    assert load_model("next").labels == ("red", "blue", "green")


@pytest.mark.slow
def test_a_head_is_taken_where_its_labels_are_the_same(folder, capsys):
    asked = ["--initial", "FromRun", "--initial.run", "told"]
    experiment = override(load("colours.py").experiment, asked, "train")
    assert all(how == "taken" for _, how in set_up(experiment).start.table)
    table = Path("table.jsonl")
    table.write_text(table.read_text().replace('"kind": "red"', '"kind": "rot"'))
    assert main(["train", "colours.py", "--from", "told", "--run", "other"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "those of the run are others: red, blue, green" in said


@pytest.mark.slow
def test_numbers_of_pairs_are_told(folder):
    scores = {
        e["evaluation"]: e["scores"] for e in read_result(Path("rated"))["scores"]
    }
    assert -1 <= scores["r"]["spearman"] <= 1 and scores["r"]["pearson"] != 0
    assert main(["evaluate", "rated", "--predictions", "p.jsonl"]) == 0
    rows = lines_of("p.jsonl")
    value, told = (np.array([r[n] for r in rows]) for n in ("value", "predicted"))
    loss = scores["likelihood"]["loss"]
    assert np.square(value - told).mean() == pytest.approx(loss, rel=1e-4)
    wanted = np.corrcoef(value, told)[0, 1]
    assert scores["r"]["pearson"] == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["colours.py:body", "--evaluations.x", "ClassScores"], "train by Classify()"),
        (["colours.py", "--evaluations.x", "Correlation"], "train by Regress()"),
        (["colours.py:counted", "--model", "NGram"], "NGram counts in a TokenStream"),
        (["colours.py", "--objective", "Regress"], "Data that gives it: Rated"),
        (["colours.py", "--model.classes", "2"], "the data has 3 labels"),
        (["colours.py", "--data.label", "kidn"], "Did you mean 'kind'"),
    ],
)
def test_what_does_not_fit_is_refused(args, said, tmp_path, monkeypatch, capsys):
    write_all(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["train", *args, "--run", "run"]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not Path("run").exists()


@pytest.mark.slow
def test_a_counted_classifier_writes_no_text(folder, capsys):
    assert main(["generate", "counted"]) == 2
    assert "doesn't continue text" in capsys.readouterr().err
    assert main(["train", "colours.py:counted", "--run", "counted"]) == 0
    assert "nothing left to count" in capsys.readouterr().out
    assert main(["evaluate", "body", "--predictions", "p.tsv"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "NextToken tells nothing of an example by itself" in said
