"""JSON names public kinds alone, rebuilds the same, or says what it can't."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lm_jax.errors import UserError
from lm_jax.experiment import differences, digest, from_json, load, read, save, to_json
from lm_jax.experiment.loading import load_file
from lm_jax.experiment.names import public_kinds
from lm_jax.schedules import ReduceOnPlateau
from tests.experiment import FILES, RECIPE

MINE = """
from dataclasses import dataclass, replace
from lm_jax.experiment import load
from lm_jax.models import NoPositions

@dataclass(frozen=True)
class Mine(NoPositions):
    size: int = 3

base = load("experiments/gpt_shakespeare.py").experiment
experiment = replace(base, model=base.model.clone(positions=Mine(5)))
"""


def every_experiment():
    for file in FILES:
        yield from load_file(str(file)).experiments.values()


def keep(experiment, folder):
    """Write what a run keeps of an experiment."""
    folder.mkdir(exist_ok=True)
    for name, content in save(experiment).items():
        (folder / name).write_bytes(content)
    return folder


def changed(folder, change):
    """Change the JSON of a run by hand."""
    path = folder / "experiment.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_json_rebuilds_the_same_experiment(tmp_path):
    count = 0
    for experiment in every_experiment():
        again = read(keep(experiment, tmp_path))
        assert digest(again) == digest(experiment)
        # Classes of a file's own are those of the run's copy of it.
        own = not type(experiment.data).__module__.startswith("lm_jax.")
        assert own or again == experiment
        assert type(again.model) is type(experiment.model)
        count += 1
    assert count > 3


def test_names_are_those_that_the_rooms_export():
    text = json.dumps([to_json(experiment) for experiment in every_experiment()])
    for kind in ("models.Transformer", "data.TokenStream", "evaluation.Likelihood"):
        assert f'"lm_jax.{kind}"' in text
    assert "lm_jax.models.transformer" not in text
    assert len(public_kinds()) > 50


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda d: d["experiment"]["objective"].update(
                type="lm_jax.objectives.NextTokn"
            ),
            "Did you mean 'lm_jax.objectives.NextToken'",
        ),
        (lambda d: d["experiment"]["optimizer"].update(warp=9), "warp"),
        (lambda d: d["experiment"]["model"].update(type="os.path"), "not export"),
        (
            lambda d: d["experiment"]["model"].update(type="lm_jax.files.writing"),
            "not export",
        ),
        (
            lambda d: d["experiment"]["model"].update(type="experiment.Mine"),
            "not export",
        ),
        (lambda d: d.update(format=1), "format 1.*reads format 3"),
        (lambda d: d.pop("format"), "format 1.*reads format 3"),
    ],
)
def test_what_cannot_be_rebuilt_is_said(change, words, tmp_path):
    folder = keep(RECIPE, tmp_path / "run")
    changed(folder, change)
    with pytest.raises(UserError, match="(?s)" + words):
        read(folder)


def test_format_3_is_read_as_it_was_meant(tmp_path):
    """Its patience counted the evaluation that cuts; its rates multiplied decay."""
    plateau = replace(RECIPE, schedule=ReduceOnPlateau(0.1, patience=3))
    folder = keep(plateau, tmp_path / "run")

    def as_format_3(document):
        document["format"] = 3
        del document["experiment"]["optimizer"]["rated_decay"]

    assert read(folder) == plateau
    changed(folder, as_format_3)
    before = read(folder)
    assert before.schedule.patience == 2 and before.optimizer.rated_decay
    assert replace(before.optimizer, rated_decay=False) == plateau.optimizer


def test_nothing_is_imported_that_a_document_names(tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    names = ["evil.Thing", f"{tmp_path}/evil.py:Thing", "lm_jax.evil.Thing"]
    names += ["evil", "experiment.evil.Thing", "lm_jax.models.jax", "", ["evil"], None]
    for name in names:
        with pytest.raises(UserError, match="does not export"):
            from_json({"type": name})
    assert "evil" not in sys.modules


def test_a_kind_of_the_experiments_own_file_comes_back_from_the_copy(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    experiment = load(str(file)).experiment
    run = keep(experiment, tmp_path / "run")
    file.unlink()
    again = read(run)
    assert again.model.positions.size == 5
    assert not differences(again, experiment)
    assert Path(sys.modules[type(again.model.positions).__module__].__file__) == (
        run / "experiment.py"
    )


def test_a_copy_that_was_changed_is_not_executed(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    run = keep(load(str(file)).experiment, tmp_path / "run")
    (run / "experiment.py").write_text(MINE + "raise SystemExit('executed')")
    with pytest.raises(UserError, match="not the file that the run was begun with"):
        read(run)
    (run / "experiment.py").unlink()
    with pytest.raises(UserError, match=r"experiment.py can't be read"):
        read(run)


def test_own_code_counts_in_the_digest(tmp_path):
    digests = []
    for number, code in enumerate(
        (MINE, MINE.replace("    size", "    # more\n    size"))
    ):
        file = tmp_path / f"mine{number}.py"
        file.write_text(code)
        digests.append(digest(load(str(file)).experiment))
    assert digests[0] != digests[1]


def test_a_kind_from_elsewhere_is_refused(tmp_path, monkeypatch):
    (tmp_path / "elsewhere.py").write_text(MINE.split("base =")[0])
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "mine.py"
    file.write_text(
        "from elsewhere import Mine\nfrom dataclasses import replace\n"
        "from lm_jax.experiment import load\nbase =" + MINE.split("base =")[1]
    )
    with pytest.raises(UserError, match="elsewhere.Mine is a kind of value"):
        save(load(str(file)).experiment)
