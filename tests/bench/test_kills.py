"""Kills fall at random, trainings go on, and what comes out otherwise is found."""

import json
import random
import subprocess
import sys

import numpy as np
import pytest

from lm_jax.bench import kills
from lm_jax.bench.kills import Failed, Family
from lm_jax.bench.phases import phase_of
from lm_jax.commands.bench_kills import report

# Twelve steps, each on the disk before the next begins, as a training has it.
TRAINING = """
import json, sys, time
from pathlib import Path
run, wrong = Path(sys.argv[1]), sys.argv[2]
run.mkdir(exist_ok=True)
log = run / "metrics.jsonl"
done = log.read_text().count("\\n") if log.exists() else 0
if wrong == "cannot" and done:
    sys.exit("damaged")
for step in range(done + 1, 13):
    loss = 1 / step + (wrong == "forgets" and step > 1 and step == done + 1)
    with log.open("a") as file:
        row = {"step": step, "loss": loss, "data_wait": time.time()}
        file.write(json.dumps(row) + "\\n")
    time.sleep(0.02)
names = ("scores", "best", "steps", "tokens", "parameters")
(run / "result.json").write_text(json.dumps(dict.fromkeys(names, 12)))
"""


@pytest.fixture
def family(tmp_path, monkeypatch, request):
    """A family of trainings that go on, or do it wrongly."""

    def start(family, run, place):
        return subprocess.Popen(
            [sys.executable, "-c", TRAINING, str(run), request.param],
            stdout=subprocess.DEVNULL,
            stderr=run.with_suffix(".log").open("wb"),
        )

    monkeypatch.setattr(Family, "_start", start)
    monkeypatch.setattr(
        kills, "read_result", lambda r: json.loads((r / "result.json").read_text())
    )
    monkeypatch.setattr(kills, "_parameters", lambda run, step: [("a", np.zeros(2))])
    return Family("decoder", tmp_path / "decoder")


@pytest.mark.parametrize("family", ["well"], indirect=True)
def test_what_goes_on_well_comes_out_the_same(family):
    family.measure()
    fell = list(family.kill(5, random.Random(0)))
    assert len(fell) == 5 == sum(len(trial.kills) for trial in family.trials)
    assert len({kill.after for kill in fell}) == 5
    assert [trial.differences for trial in family.trials if trial.differences] == []
    assert family.trials[0].compared == 12 * 2 + 5 + 1
    assert [trial.cold for trial in family.trials[:3]] == [True, False, False][
        : len(family.trials)
    ]
    rows = report([family])
    assert all(len(row) <= 80 for row in rows)
    assert "0 differ" in rows[3]


@pytest.mark.parametrize("family", ["forgets"], indirect=True)
def test_a_step_that_comes_out_otherwise_is_named(family):
    family.measure()
    list(family.kill(4, random.Random(1)))
    unlike = [words for trial in family.trials for words in trial.differences]
    assert unlike and all(words.endswith("loss") for words in unlike)
    assert f"{len(unlike)} differ" in report([family])[3]
    assert f"decoder, run 0: {unlike[0]}" in report([family]) or len(family.trials) > 1


@pytest.mark.parametrize("family", ["cannot"], indirect=True)
def test_a_training_that_cannot_go_on_says_why(family):
    family.measure()
    with pytest.raises(Failed, match="damaged"):
        list(family.kill(20, random.Random(0)))


def test_values_are_the_same_to_the_bit(tmp_path, monkeypatch):
    """NaN is itself, 0.0 is not -0.0, a type is part of a value."""
    names = ("scores", "best", "steps", "tokens", "parameters")
    monkeypatch.setattr(kills, "read_result", lambda run: dict.fromkeys(names, 1))
    arrays = {
        "reference": [0.0, np.nan],
        "again": [0.0, np.nan],
        "other": [-0.0, np.nan],
    }
    monkeypatch.setattr(
        kills, "_parameters", lambda run, step: [("a", np.array(arrays[run.name]))]
    )
    for name in arrays:
        (tmp_path / name).mkdir()
        zero = "-0.0" if name == "other" else "0.0"
        row = f'{{"step": 1, "loss": {zero}, "norm": "nan", "data_wait": 3}}\n'
        (tmp_path / name / "metrics.jsonl").write_text(row)
    (tmp_path / "other" / "samples.txt").write_text("a")
    family = Family("decoder", tmp_path)
    assert family.compare(tmp_path / "again") == (9, [])
    assert family.compare(tmp_path / "other")[1] == [
        "line 1, step 1, loss",
        "parameters, a",
        "samples.txt",
    ]


def stack(*frames):
    """Frames from the innermost to the outermost, as faulthandler writes them."""
    lines = [f'  File "/x/{file}", line 7 in {name}' for file, name in frames]
    return "\n".join(["Thread 0x1 (most recent call first):", *lines])


MAIN = ("lm_jax/__main__.py", "main")
LOOP = [("lm_jax/training/loop.py", "train"), MAIN]
SAVES = stack(("orbax/checkpoint/_src/futures/future.py", "run"))


@pytest.mark.parametrize(
    ("frames", "phase"),
    [
        ([("lm_jax/evaluation/__init__.py", "<module>"), MAIN], "start"),
        ([("lm_jax/runs/checkpoints.py", "restore"), MAIN], "start"),
        ([("jax/_src/compiler.py", "backend_compile"), *LOOP], "compile"),
        (
            [("models/block.py", "f"), ("jax/_src/interpreters/pxla.py", "g"), *LOOP],
            "compile",
        ),
        ([("jax/_src/pjit.py", "call"), *LOOP], "train"),
        ([("lm_jax/evaluation/sample.py", "run"), *LOOP], "evaluate"),
        ([("lm_jax/runs/checkpoints.py", "save"), *LOOP], "save"),
        (
            [("pathlib.py", "open"), ("lm_jax/training/run.py", "finish"), MAIN],
            "end",
        ),
        ([("lm_jax/counting/ngram.py", "fit"), MAIN], "train"),
        ([("lm_jax/counting/fitted.py", "save"), MAIN], "save"),
        ([], "start"),
    ],
)
def test_a_phase_is_told_by_the_stack(frames, phase):
    assert phase_of(stack(*frames)) == phase
    assert phase_of(f"{SAVES}\n\n{stack(*frames)}") == (
        "save" if phase == "train" else phase
    )


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--kills", "3"], "multiple"),
        (["--kills", "0"], "multiple"),
        (["--jobs", "0"], "jobs"),
    ],
)
def test_options_that_cannot_be_met_are_refused(args, words, capsys):
    from lm_jax.__main__ import main

    assert main(["bench", "kills", *args]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.slow
def test_a_real_training_is_killed_and_goes_on(capsys):
    from lm_jax.__main__ import main

    assert main(["bench", "kills", "--kills", "2", "--families", "ngram"]) == 0
    said = capsys.readouterr().out
    assert "ngram" in said and " 0 differ" in said
