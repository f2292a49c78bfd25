"""A step that is made again is what it was, or what differs is named."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from lm_jax.__main__ import main
from tests.tiny import write_tiny

pytestmark = pytest.mark.slow
UNTOUCHED = "untouched"
PLATEAU = ("--schedule", "ReduceOnPlateau", "--schedule.peak", "0.3")
ANSWERS = (*PLATEAU, "--schedule.patience", "0", "--schedule.threshold", "9")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Twelve steps with checkpoints of 4, 8 and 12."""
    folder, here = tmp_path_factory.mktemp("trained"), Path.cwd()
    write_tiny(folder)
    os.chdir(folder)
    assert main(["train", "tiny.py", "--run", "run", "--keep", "3"]) == 0
    yield folder
    os.chdir(here)


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    """A copy that a test may damage; the run itself is beside it."""
    shutil.copytree(trained, tmp_path / "copy")
    shutil.copytree(trained / "run", tmp_path / "copy" / UNTOUCHED)
    monkeypatch.chdir(tmp_path / "copy")
    return Path("run")


def said(capsys, code, *args):
    assert main([str(arg) for arg in args]) == code
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert not [line for line in lines if len(line) > 80 and " " in line.strip()]
    return " ".join((told.out + told.err).split())


def rewrite(run, step, name, change):
    """Change a value that metrics.jsonl has of a step."""
    path = run / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        if row["step"] == step and name in row:
            row[name] = change(row[name])
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def nearest_float(value):
    return float(np.nextafter(np.float32(value), np.float32(0)))


def test_an_untouched_run_is_equal(run, capsys):
    told = said(capsys, 0, "replay", run, "--step", 6)
    assert "checkpoint 4" in told and "Equal to the bit, steps 5 to 6" in told
    assert "the beginning" in said(capsys, 0, "replay", run, "--step", 2)
    told = said(capsys, 0, "verify", run)
    names = "the batch, the loss, the gradient's norm, the parameters."
    assert f"Equal to the bit, steps 9 to 12: {names}" in told
    assert "steps 9 to 10" in said(capsys, 0, "verify", run, "--steps", 2)


@pytest.mark.parametrize(
    ("step", "name", "change", "words"),
    [
        (6, "loss", nearest_float, "Step 6 differs, first in the loss: "),
        (7, "grad_norm", nearest_float, "Step 7 differs, first in the gradient's"),
        (5, "batch", lambda value: value ^ 1, "Step 5 differs, first in the batch: "),
        (8, "parameters", lambda value: value ^ 1, "first in the parameters: "),
    ],
)
def test_the_first_that_differs_is_named(run, capsys, step, name, change, words):
    rewrite(run, step, name, change)
    assert words in said(capsys, 1, "replay", run, "--step", 8)


def test_a_flipped_bit_another_text_and_other_versions_are_named(run, capsys):
    path = run / "environment.json"
    starts = json.loads(path.read_text())
    starts[0]["versions"]["jax"] = "0.0.1"
    path.write_text(json.dumps(starts))
    assert "jax: 0.0.1 then" in said(capsys, 0, "replay", run, "--step", 5)
    largest = max(
        (p for p in Path(run, "checkpoints/4").rglob("d/*") if p.is_file()),
        key=lambda p: p.stat().st_size,
    )
    whole = bytearray(largest.read_bytes())
    whole[len(whole) // 2] ^= 4
    largest.write_bytes(whole)
    told = said(capsys, 2, "replay", run, "--step", 5)
    assert "checkpoints/4 is damaged" in told and largest.name in told
    told = said(capsys, 0, "diff", run, UNTOUCHED)
    assert "jax - 0.0.1" in told and "scores of the two can't be compared" in told
    assert told.count("is damaged") == 1 and largest.name in told
    Path("text.txt").write_text(Path("text.txt").read_text() + " the end")
    assert "another text than there is" in said(capsys, 2, "replay", run, "--step", 9)


def test_what_evaluations_decided_is_decided_again(run, capsys):
    """The rate was cut on the way from the first step to the only checkpoint."""
    assert main(["train", "tiny.py", "--run", "answers", *ANSWERS]) == 0
    for checkpoint in Path("answers/checkpoints").glob("[0-9]*"):
        if checkpoint.name != "12":
            shutil.rmtree(checkpoint)
    rates = {
        json.loads(line).get("learning_rate", 0)
        for line in Path("answers/metrics.jsonl").read_text().splitlines()
    }
    assert len(rates) > 2  # 0 stands for lines of evaluations
    capsys.readouterr()
    told = said(capsys, 0, "verify", "answers")
    assert "the beginning" in told and "steps 1 to 12" in told


def test_a_run_that_goes_on_says_what_comes_out_otherwise(run, capsys):
    shutil.rmtree(run / "checkpoints/12")
    (run / "result.json").unlink()
    shutil.copytree(run, "changed")
    train = ("train", "tiny.py", "--keep", "3", "--run")
    assert "otherwise" not in said(capsys, 0, *train, run)
    rewrite(Path("changed"), 10, "loss", nearest_float)
    told = said(capsys, 0, *train, "changed")
    assert told.count("came out otherwise") == 1
    assert "Step 10 came out otherwise" in told and "the loss was" in told


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("replay", "run"), "Which step?"),
        (("replay", "run", "--step", "13"), "of steps 1 to 12"),
        (("replay", "run", "--step", "0"), "of steps 1 to 12"),
        (("verify", "run", "--steps", "0"), "--steps=0"),
        (("verify", "nope"), "There is no nope."),
    ],
)
def test_what_cannot_be_made_again_is_said(run, capsys, args, words):
    assert words in said(capsys, 2, *args)
