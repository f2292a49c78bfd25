"""Runs that learn beside another run's model: a teacher, a reference."""

import hashlib
import json
import math
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from lm_jax.__main__ import main
from lm_jax.experiment import load
from lm_jax.experiment.overrides import override
from lm_jax.runs.metrics import read_metrics
from lm_jax.runs.result import read_result
from lm_jax.training.compiled import Compiled
from lm_jax.training.setup import set_up
from tests.tiny import TEXT, write_tiny

DEVICES = jax.devices()
CONSTANT = ("--schedule", "Constant", "--schedule.peak", "1e-2")
TAUGHT = ("--objective", "Distil", "--objective.teacher", "teacher", *CONSTANT)
REFERENCE = ("--objective", "Preference", "--objective.reference", "reference")
PREFERRED = (
    *("--data", "AnswerPairs", "--data.corpus.source", "pairs.jsonl"),
    *("--data.corpus.column", "ask", "--data.tokenizer", "Kept"),
    *("--data.tokenizer.run", "reference", "--data.between", " "),
    *("--data.lengths", "8", "16", *REFERENCE, "--from", "reference", *CONSTANT),
)


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """A wider run "teacher", "reference" of documents, and pairs of answers."""
    folder, here = tmp_path_factory.mktemp("runs"), Path.cwd()
    write_tiny(folder)
    os.chdir(folder)
    Path("pairs.jsonl").write_text("".join(map(pair, range(60))))
    documents = ("--data", "PackedDocuments", "--data.corpus.separator", ".")
    assert train("teacher", "--model.width", "24") == 0
    assert train("reference", *documents) == 0
    yield folder
    os.chdir(here)


def pair(number):
    """The next word is preferred to that word turned round."""
    words = TEXT.replace(".", "").split()[number * 3 :][:3]
    row = {"ask": " ".join(words[:2]), "chosen": words[2], "rejected": words[2][::-1]}
    return json.dumps(row) + "\n"


def train(run, *args, devices=1, file="tiny.py"):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "devices", lambda *_: DEVICES[:devices])
        return main(["train", file, "--run", run, *args])


def losses(run):
    rows = read_metrics(Path(run) / "metrics.jsonl")
    return np.array([row["loss"] for row in rows if "loss" in row])


def refused(capsys, run, *args, **options):
    before = sorted(Path().rglob("*"))
    assert train(run, *args, **options) == 2
    assert sorted(Path().rglob("*")) == before
    return " ".join(capsys.readouterr().err.split())


def digest_of(run):
    files = sorted(path for path in Path(run).rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


@pytest.fixture(scope="module")
def taught(folder):
    """Eight steps in one go on one device."""
    assert train("taught", *TAUGHT, "--budget", "8 steps") == 0
    return losses("taught")


@pytest.mark.slow
def test_a_teacher_changes_what_is_learnt_and_is_left_as_it_was(taught):
    before = digest_of("teacher")
    alone = ("--objective", "NextToken", *CONSTANT, "--budget", "8 steps")
    assert train("alone", *alone) == 0
    assert digest_of("teacher") == before
    # The first loss has the divergence in it; the scores don't.
    assert np.abs(losses("alone") - taught).min() > 1e-3
    kept = json.loads(Path("taught/guide.json").read_text())
    assert kept["run"] == "teacher" and kept["step"] == 12


@pytest.mark.slow
def test_a_share_of_nothing_is_the_objective_alone():
    none = ("--objective.share", "0", "--budget", "4 steps")
    assert train("unheard", *TAUGHT, *none) == 0
    assert train("plain", *CONSTANT, "--budget", "4 steps") == 0
    np.testing.assert_allclose(losses("unheard"), losses("plain"), rtol=1e-6)
    a, b = (
        read_result(Path(run))["scores"][0]["scores"] for run in ("unheard", "plain")
    )
    assert a == pytest.approx(b, rel=1e-5)


@pytest.mark.slow
def test_a_taught_run_goes_on_as_if_never_stopped_wherever_it_is(taught):
    """On one device, then on two that hold the teacher in parts, then in parts."""
    assert train("moved", *TAUGHT, "--budget", "4 steps") == 0
    assert train("moved", *TAUGHT, "--budget", "6 steps", "--fsdp", "2", devices=2) == 0
    assert train("moved", *TAUGHT, "--budget", "8 steps", "--accumulate", "2") == 0
    np.testing.assert_allclose(losses("moved"), taught, rtol=1e-5)
    assert train("stopped", *TAUGHT, "--budget", "4 steps") == 0
    assert train("stopped", *TAUGHT, "--budget", "8 steps") == 0
    np.testing.assert_array_equal(losses("stopped"), taught)


@pytest.mark.slow
def test_a_teacher_is_an_argument_of_the_step_and_in_no_checkpoint():
    setup = set_up(override(load("tiny.py").experiment, [*TAUGHT], "train"))
    held = jax.tree.leaves(setup.constants().guide)
    assert sum(leaf.size for leaf in held) > setup.parameters
    state, shape = setup.placed_shapes(), setup.order.shapes[-1]
    given = state, setup.placed_batch(shape), setup.constant_shapes()
    traced = Compiled(setup).step.trace(*given)
    assert sum(np.size(const) for const in traced.jaxpr.consts) < 100
    inside = len(jax.tree.leaves(given)) - len(held)
    plain = set_up(override(load("tiny.py").experiment, [*CONSTANT], "train"))
    assert inside == len(jax.tree.leaves(plain.placed_shapes())) + 3
    names = [str(path) for path, _ in jax.tree.leaves_with_path(setup.saved_shapes())]
    assert len(names) == len(jax.tree.leaves(plain.saved_shapes()))


@pytest.mark.slow
def test_a_teacher_that_has_changed_is_refused(capsys):
    shutil.copytree("teacher", "other")
    args = ("--objective", "Distil", "--objective.teacher", "other", *CONSTANT)
    assert train("begun", *args, "--budget", "4 steps") == 0
    capsys.readouterr()
    shutil.rmtree("other")
    assert train("other", "--model.width", "24", "--seed", "1") == 0
    capsys.readouterr()
    said = refused(capsys, "begun", *args, "--budget", "8 steps")
    assert "objective.teacher: begun began with the parameters of checkpoint 12" in said


@pytest.mark.slow
def test_what_can_be_no_teacher_is_refused(capsys):
    def said(teacher, *args, **options):
        taught = ("--objective", "Distil", "--objective.teacher", teacher, *CONSTANT)
        return refused(capsys, "never", *taught, *args, **options)

    assert "objective.teacher names none" in said("")
    assert "There is no teachers" in said("teachers")
    assert "has other tokens: " in said("reference")
    long = said("teacher", "--data.context", "32")
    assert "objective.teacher: teacher: " in long and "32" in long
    carried = said("teacher", file="tiny.py:recurrent")
    assert "its state isn't carried from batch to batch" in carried
    Path("counted.py").write_text(COUNTED)
    assert main(["train", "counted.py", "--run", "counted"]) == 0
    capsys.readouterr()
    assert "was fitted by counting" in said("counted")


COUNTED = """
from lm_jax.counting import KneserNey, NGram
from lm_jax.data import TokenStream
from lm_jax.experiment import CountExperiment
from lm_jax.text import Corpus
from lm_jax.tokenizers import Characters

experiment = CountExperiment(
    TokenStream(Corpus("text.txt"), Characters(), 16), NGram(2, KneserNey())
)
"""


@pytest.mark.slow
def test_preference_begins_at_log_2_and_learns_to_tell_pairs(capsys):
    still = ("--model.dropout", "0.0", "--budget")
    assert train("preferred", *PREFERRED, *still, "40 steps") == 0
    found = losses("preferred")
    assert found[0] == pytest.approx(math.log(2), abs=1e-5)
    assert found[-5:].mean() < 0.5
    apart = ("4 steps", "--fsdp", "2", "--accumulate", "2")
    assert train("apart", *PREFERRED, *still, *apart, devices=2) == 0
    np.testing.assert_allclose(losses("apart"), found[:4], rtol=1e-4)
    capsys.readouterr()
    assert main(["evaluate", "preferred", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert scores["accuracy"] > 0.8 and scores["margin"] > 0.5
    best = read_result(Path("preferred"))["best"]
    assert scores["loss"] == pytest.approx(best["loss"], rel=1e-5)
    assert main(["evaluate", "preferred", "--items"]) == 0
    kept = json.loads(Path("preferred/guide.json").read_text())
    Path("preferred/guide.json").write_text(json.dumps(kept | {"parameters": 1}))
    capsys.readouterr()
    assert main(["evaluate", "preferred"]) == 2
    assert "objective.reference: preferred began with" in capsys.readouterr().err


@pytest.mark.slow
def test_answers_are_learnt_by_the_objective_of_every_decoder(capsys):
    data = ["Answers" if arg == "AnswerPairs" else arg for arg in PREFERRED]
    at = data.index("--objective")
    plain = [*data[:at], *data[at + 4 :], "--data.answer", "chosen"]
    assert train("answers", *plain, "--budget", "40 steps") == 0
    found = losses("answers")
    assert found[-5:].mean() < 0.6 * found[0]
    scores = read_result(Path("answers"))["scores"]
    scores = next(s["scores"] for s in scores if s["evaluation"] == "likelihood")
    assert set(scores) == {"loss", "perplexity", "tokens"}
