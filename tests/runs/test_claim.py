"""A run goes on with its own recipe alone; how it is carried out may change."""

import dataclasses
import json
from dataclasses import replace

import pytest

from lm_jax.adapting import LoRA
from lm_jax.averages import AverageAfter
from lm_jax.errors import UserError
from lm_jax.evaluation import Likelihood, Sample
from lm_jax.experiment import (
    Execution,
    Experiment,
    InitialVectors,
    Published,
    load,
    read,
)
from lm_jax.models import Recurrent
from lm_jax.objectives import NextToken
from lm_jax.optimizers import AdamW
from lm_jax.runs.claim import EXTENDS, claim, read_data
from lm_jax.schedules import Constant
from lm_jax.text import Corpus
from tests.tiny import write_tiny

# Another value for each field of an experiment.
OTHERS = {
    "data": lambda e: replace(e.data, context=8),
    "model": lambda e: Recurrent(width=8),
    "objective": lambda e: NextToken(z_loss=1e-4),
    "optimizer": lambda e: AdamW(b2=0.9),
    "schedule": lambda e: Constant(peak=e.schedule.peak),
    "batch": lambda e: 4,
    "budget": lambda e: "13 steps",
    "evaluations": lambda e: {**e.evaluations, "sample": Sample(length=3)},
    "watch": lambda e: "other",
    "average": lambda e: AverageAfter(2),
    "initial": lambda e: InitialVectors("v.txt"),
    "frozen": lambda e: (("embedding", True), (".*", False)),
    "adapter": lambda e: LoRA(),
    "patience": lambda e: 3,
    "skip_bad_steps": lambda e: 3,
    "seed": lambda e: 1,
    "held": lambda e: ("order",),
    "execution": lambda e: Execution(accumulate=2),
    "outputs": lambda e: (),
    "published": lambda e: Published(1.0, "somewhere"),
}


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """An experiment, its data and the run that it has begun."""
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)
    experiment = load("tiny.py").experiment
    more = {**experiment.evaluations, "other": Likelihood("4 steps")}
    experiment = replace(experiment, evaluations=more)
    data = experiment.data.prepare(tmp_path / "cache")
    run = tmp_path / "run"
    run.mkdir()
    assert claim(experiment, data, run) is None
    return experiment, data, run


def test_every_field_of_an_experiment_is_tried():
    assert set(OTHERS) == {field.name for field in dataclasses.fields(Experiment)}


def test_another_recipe_is_refused_by_the_name_of_its_field(begun):
    experiment, data, run = begun
    before = {path: path.read_bytes() for path in run.iterdir()}
    parts = {f.name: f.metadata.get("part") for f in dataclasses.fields(Experiment)}
    tried = [name for name in OTHERS if not parts[name] and name not in EXTENDS]
    assert "seed" in tried and "batch" in tried
    for name in tried:
        changed = replace(experiment, **{name: OTHERS[name](experiment)})
        with pytest.raises(UserError, match=rf"another experiment:\n(.*\n)*  {name}\b"):
            claim(changed, data, run)
    assert {path: path.read_bytes() for path in run.iterdir()} == before


def test_the_watched_evaluation_is_recipe_and_the_others_are_notes(begun):
    experiment, data, run = begun
    watched = {**experiment.evaluations, "likelihood": Likelihood("3 steps")}
    with pytest.raises(UserError, match=r"evaluations\.likelihood\.every"):
        claim(replace(experiment, evaluations=watched), data, run)
    notes = {**experiment.evaluations, "other": Likelihood("3 steps")}
    assert claim(replace(experiment, evaluations=notes), data, run) == experiment


def test_execution_notes_and_a_longer_run_are_written_anew(begun):
    experiment, data, run = begun
    now = experiment
    for name in ("execution", "evaluations", "outputs", "published", *EXTENDS):
        now = replace(now, **{name: OTHERS[name](experiment)})
    checked = []
    assert claim(now, data, run, checked.append) == experiment
    assert checked == [experiment]
    assert read(run) == now


def test_another_text_is_refused_and_the_one_it_began_with_is_said(begun, tmp_path):
    experiment, _, run = begun
    (tmp_path / "text.txt").write_text("another text. " * 50)
    corpus = Corpus("text.txt")
    data = replace(experiment.data, corpus=corpus).prepare(tmp_path / "cache")
    about = json.loads((run / "data.json").read_text())
    said = about["statement"][0]
    # A character of this text is a byte, and a token.
    assert about["bytes"] == len(begun[1].splits["validation"].ids)
    with pytest.raises(UserError, match="another text than there is now") as error:
        claim(experiment, data, run)
    assert said in str(error.value)


@pytest.mark.parametrize("text", ["[]", "", '{"digest": '])
def test_what_was_kept_of_a_text_and_is_damaged_is_named(tmp_path, text):
    assert read_data(tmp_path) == {}
    (tmp_path / "data.json").write_text(text)
    with pytest.raises(UserError, match="data.json is damaged"):
        read_data(tmp_path)


def test_a_run_is_not_begun_around_runs_nor_inside_one(begun):
    experiment, data, run = begun
    with pytest.raises(UserError, match=r"holds runs \(run\)"):
        claim(experiment, data, run.parent)
    inner = run / "further"
    inner.mkdir()
    with pytest.raises(UserError, match="lies in the run"):
        claim(experiment, data, inner)


@pytest.mark.parametrize("name", ["notes.txt", "texts"])
def test_a_directory_that_holds_other_things_is_no_run(begun, tmp_path, name):
    experiment, data, _ = begun
    folder = tmp_path / "elsewhere"
    (folder / name).mkdir(parents=True)
    with pytest.raises(UserError, match=f"not empty: it holds '{name}'"):
        claim(experiment, data, folder)
    assert [path.name for path in folder.iterdir()] == [name]


def test_what_a_shell_writes_beside_a_run_is_no_harm(begun, tmp_path):
    experiment, data, _ = begun
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for name in (".lock", "train.log"):
        (folder / name).touch()
    (folder / "checkpoints").mkdir()  # Of a start that was killed.
    claim(experiment, data, folder)
    assert (folder / "experiment.json").exists()
