"""Checkpoints that nothing goes by are removed, and nothing else is touched."""

import json
import shutil

import pytest

from lm_jax.__main__ import main
from lm_jax.errors import UserError
from lm_jax.runs import pruning
from lm_jax.runs.directory import open_run
from lm_jax.runs.pruning import remove, spare
from lm_jax.runs.sealed import DIGESTS, seal
from tests.runs.test_listing import begin


def checkpoint(run, step, best):
    folder = run / "checkpoints" / str(step)
    for name, content in {
        "progress/metadata": json.dumps({"best": best}),
        "params/array": "x" * 1000,
    }.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(content)
    seal(folder)


def steps(run):
    return sorted(int(path.name) for path in (run / "checkpoints").iterdir())


@pytest.fixture
def run(tmp_path):
    """A run whose checkpoint of step 2 of 5 is the best."""
    run = begin(tmp_path / "runs" / "run", [(5, {"loss": 1.0})])
    for step in range(1, 6):
        checkpoint(run, step, best=min(step, 2))
    return run


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_best_and_the_last_stay(run, capsys):
    before = set(names(run))
    found = spare(run)
    assert (found.steps, found.best, found.last) == ((1, 3, 4), 2, 5)
    assert steps(run) == [1, 2, 3, 4, 5]
    assert main(["runs", "prune", str(run.parent), "--yes"]) == 0
    said = capsys.readouterr().out
    assert "checkpoints 1, 3, 4: " in said and "kept: 2 (best), 5 (last)" in said
    assert f"Freed {found.bytes / 1000:.2f} kB" in said
    assert steps(run) == [2, 5]
    assert set(names(run)) - {".lock"} == before - {".lock"}
    assert main(["runs", "prune", str(run.parent), "--yes"]) == 0
    assert "Nothing can go" in capsys.readouterr().out


def test_nothing_goes_before_a_yes(run, capsys, monkeypatch):
    assert main(["runs", "prune", str(run.parent)]) == 2
    said = capsys.readouterr()
    assert "add --yes" in said.err and "checkpoints 1, 3, 4" in said.out
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for answer in ("", "n", "no", "yeah"):
        monkeypatch.setattr("builtins.input", lambda _, answer=answer: answer)
        assert main(["runs", "prune", str(run.parent)]) == 0
        assert "Nothing was removed" in capsys.readouterr().out
        assert steps(run) == [1, 2, 3, 4, 5]
    monkeypatch.setattr("builtins.input", lambda _: "y")
    assert main(["runs", "prune", str(run.parent)]) == 0
    assert steps(run) == [2, 5]


def test_a_run_in_use_is_left_alone_and_others_are_not(run, capsys):
    other = shutil.copytree(run, run.parent / "other")
    with open_run(run):
        assert main(["runs", "prune", str(run.parent), "--yes"]) == 0
    assert "run is in use" in " ".join(capsys.readouterr().err.split())
    assert steps(run) == [1, 2, 3, 4, 5]
    assert steps(other) == [2, 5]


def test_a_run_that_is_begun_meanwhile_is_left_alone(run):
    found = spare(run)
    with open_run(run), pytest.raises(UserError, match="in use"):
        remove(found)
    checkpoint(run, 6, best=6)
    with pytest.raises(UserError, match="other checkpoints"):
        remove(found)
    assert steps(run) == [1, 2, 3, 4, 5, 6]


def damage_last(run):
    (run / "checkpoints" / "5" / "params" / "array").write_text("y" * 1000)


def damage_best(run):
    (run / "checkpoints" / "2" / "params" / "array").unlink()


def damage_progress(run):
    (run / "checkpoints" / "5" / "progress" / "metadata").write_text("{")


def lose_digests(run):
    (run / "checkpoints" / "3" / DIGESTS).unlink()


def damage_experiment(run):
    (run / "experiment.json").write_text("{")


def average(run):
    kind = {"type": "lm_jax.averages.LastCheckpoints", "count": 5}
    document = {"format": 3, "experiment": {"average": kind}}
    (run / "experiment.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    "spoil",
    [
        damage_last,
        damage_best,
        damage_progress,
        lose_digests,
        damage_experiment,
        average,
    ],
)
def test_what_cannot_be_read_or_is_needed_is_left_alone(run, capsys, spoil):
    spoil(run)
    with pytest.raises(UserError):
        spare(run)
    assert main(["runs", "prune", str(run.parent), "--yes"]) == 0
    said = capsys.readouterr()
    assert said.err.startswith("Left alone: ")
    assert steps(run) == [1, 2, 3, 4, 5]


def test_a_best_that_is_gone_already_is_no_error(run):
    shutil.rmtree(run / "checkpoints" / "2")
    found = spare(run)
    assert (found.steps, found.best, found.last) == ((1, 3, 4), None, 5)


def test_unfinished_checkpoints_and_foreign_files_are_left_alone(run):
    unfinished = run / "checkpoints" / "6.orbax-checkpoint-tmp"
    unfinished.mkdir()
    (run / "checkpoints" / "note.txt").write_text("mine")
    remove(spare(run))
    assert set(names(run / "checkpoints")) == {"2", "5", unfinished.name, "note.txt"}


def test_what_ended_half_way_is_removed_the_next_time(run, monkeypatch, capsys):
    def fail(path):
        raise KeyboardInterrupt

    found = spare(run)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pruning.shutil, "rmtree", fail)
        remove(found)
    assert steps(run) == [2, 5]
    assert main(["runs", "prune", str(run.parent), "--yes"]) == 0
    said = capsys.readouterr().out
    assert "what a removal that was broken off has left: " in said
    assert f"Freed {found.bytes / 1000:.2f} kB" in said
    assert steps(run) == [2, 5]
    assert not list(run.glob(".pruned-*"))
