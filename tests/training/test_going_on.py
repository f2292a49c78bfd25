"""A run goes on elsewhere and longer, where the past would have been the same."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from lm_jax.__main__ import main
from lm_jax.runs.checkpoints import steps_of
from lm_jax.runs.listing import listed
from lm_jax.runs.metrics import read_metrics
from lm_jax.runs.model import load_model
from lm_jax.runs.result import find_scores, has_ended, read_result
from lm_jax.training.progress import Progress
from tests.tiny import write_tiny

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
CONSTANT = ("--schedule", "Constant", "--schedule.peak", "1e-2")
DEVICES = jax.devices()


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    folder, here = tmp_path_factory.mktemp("runs"), Path.cwd()
    write_tiny(folder)
    os.chdir(folder)
    yield folder
    os.chdir(here)


def train(run, *args, devices=1, file="tiny.py"):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "devices", lambda *_: DEVICES[:devices])
        return main(["train", file, "--run", run, *args])


def losses(run):
    rows = read_metrics(Path(run) / "metrics.jsonl")
    return np.array([row["loss"] for row in rows if "loss" in row])


def scores(run):
    rows = read_metrics(Path(run) / "metrics.jsonl")
    return [
        (row["step"], row["validation_loss"])
        for row in rows
        if "validation_loss" in row
    ]


def refused(capsys, *words):
    said = " ".join(capsys.readouterr().err.split())
    assert not [word for word in words if word not in said], said


@pytest.fixture(scope="module")
def unmoved(folder):
    """Sixteen steps in one go on one device."""
    assert train("unmoved", *CONSTANT, "--budget", "16 steps") == 0
    return losses("unmoved")


def test_other_devices_and_another_layout_go_on_as_if_never_moved(unmoved):
    """8 devices, then 4 that share texts, then 1 in two parts, then scanned."""
    shared = ("--fsdp", "2", "--sequence", "2", "--rule-set", "zero1")
    stages = [
        (8, ["--fsdp", "4", "--budget", "4 steps"]),
        (4, [*shared, "--budget", "8 steps"]),
        (1, ["--accumulate", "2", "--budget", "12 steps"]),
        (1, ["--scan", "True", "--budget", "16 steps"]),
    ]
    for devices, args in stages:
        assert train("moved", *CONSTANT, *args, devices=devices) == 0
    np.testing.assert_allclose(losses("moved"), unmoved, rtol=1e-5)
    params = load_model(Path("moved"), 16).params
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        params,
        load_model(Path("unmoved"), 16).params,
    )
    starts = json.loads(Path("moved/environment.json").read_text())
    executions = [start["execution"] for start in starts]
    assert [e["sharding"]["fsdp"] for e in executions] == [4, 2, 1, 1]
    assert [e["compute"]["scan"] for e in executions] == [False] * 3 + [True]


def test_a_run_that_goes_on_with_other_code_says_so_once(capsys):
    args = [*CONSTANT, "--budget"]
    assert train("changed", *args, "4 steps") == 0
    path = Path("changed/environment.json")
    starts = json.loads(path.read_text())
    starts[0]["code"]["sources"] = "0" * 12
    path.write_text(json.dumps(starts))
    capsys.readouterr()
    assert train("changed", *args, "8 steps") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("is not what this run began with") == 1
    result = read_result(Path("changed"))
    assert [code["sources"] == "0" * 12 for code in result["trained_with"]] == [1, 0]
    assert all(entry["code"]["sources"] for entry in result["scores"])


@pytest.mark.parametrize(
    "schedule",
    [
        ["WarmupStableDecay", "--schedule.decay", "4 steps"],
        ["InverseSquareRoot", "--schedule.warmup", "2 steps"],
        ["ReduceOnPlateau", "--schedule.patience", "0", "--schedule.threshold", "9"],
    ],
    ids=lambda args: args[0],
)
def test_a_longer_budget_is_that_from_the_beginning(schedule):
    args = ["--schedule", *schedule, "--schedule.peak", "1e-2"]
    name = schedule[0]
    if name == "WarmupStableDecay":  # before its decay
        with pytest.MonkeyPatch.context() as patch:
            stopped_at(patch, 7)
            assert train(name, *args, "--budget", "13 steps") == 0
    else:  # its last evaluation is one that the longer run doesn't make
        assert train(name, *args, "--budget", "7 steps") == 0
    assert train(name, *args, "--budget", "16 steps") == 0
    assert train(f"{name} at once", *args, "--budget", "16 steps") == 0
    np.testing.assert_array_equal(losses(name), losses(f"{name} at once"))
    steps = [4, 8, 12, 16]
    assert [pair for pair in scores(name) if pair[0] in steps] == scores(
        f"{name} at once"
    )


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        ({2: 2.0, 4: 1.0, 5: 3.0, 6: 0.9, 8: 0.8}, [8]),
        ({2: 2.0, 4: 3.0, 5: 1.0, 6: 4.0, 8: 4.0}, [2, 8]),
    ],
    ids=["worse", "best"],
)
def test_what_a_shorter_budget_found_at_its_end_is_forgotten(found, kept, monkeypatch):
    """By rate, average and the best checkpoint; also where a start was killed."""
    name = f"forgotten {found[5]}"
    add = Progress.add
    monkeypatch.setattr(
        Progress, "add", lambda self, step, *_: add(self, step, found[step], False)
    )
    every = ["--evaluations.likelihood.every", "2 steps", "--keep", "1"]
    average = ["--average", "AverageAfter", "--average.evaluations", "1"]
    plateau = ["--schedule", "ReduceOnPlateau", "--schedule.patience", "0"]
    args = [*every, *average, *plateau, "--schedule.peak", "1e-2", "--budget"]
    assert train(name, *args, "5 steps") == 0
    with pytest.MonkeyPatch.context() as patch:
        killed_at(patch, 6)
        assert train(name, *args, "8 steps") == 130
    assert train(name, *args, "8 steps") == 0
    assert train(f"{name} at once", *args, "8 steps") == 0
    np.testing.assert_array_equal(losses(name), losses(f"{name} at once"))
    assert [pair for pair in scores(name) if pair[0] != 5] == scores(f"{name} at once")
    assert steps_of(Path(name)) == steps_of(Path(f"{name} at once")) == kept
    assert load_model(name).step == kept[0]


def killed_at(patch, step):
    """Let a run end before a step, with nothing saved since it began."""
    from lm_jax.training import loop

    feed = loop._feed

    def killed(setup, first):
        for item in feed(setup, first):
            if item[0] == step:
                raise KeyboardInterrupt
            yield item

    patch.setattr(loop, "_feed", killed)


def test_a_longer_run_that_is_stopped_says_so_beside_its_shorter_result(capsys):
    """By that file a job on other machines is submitted again: the status is 0."""
    args, stopped = [*CONSTANT, "--budget"], Path("longer/stopped")
    assert train("longer", *args, "4 steps") == 0 and not stopped.exists()
    with pytest.MonkeyPatch.context() as patch:
        stopped_at(patch, 6)
        assert train("longer", *args, "8 steps") == 0
    assert read_result(Path("longer"))["steps"] == 4
    assert not has_ended(Path("longer")) and listed(Path("longer")).state == "stopped"
    step = max(int(path.name) for path in Path("longer/checkpoints").iterdir())
    assert stopped.read_text() == f"at step {step}, to go on\n"
    assert train("longer", *args, "8 steps") == 0
    assert read_result(Path("longer"))["steps"] == 8 and not stopped.exists()
    assert has_ended(Path("longer"))
    # As many steps in other words: it has ended, and there is nothing to make.
    assert train("longer", *args, "1024 tokens") == 0
    assert has_ended(Path("longer"))


def stopped_at(patch, step):
    """Let a run be interrupted after a step."""
    from lm_jax.training import loop

    feed = loop._feed

    def interrupted(setup, first):
        for item in feed(setup, first):
            if item[0] == step:
                os.kill(os.getpid(), 15)
            yield item

    patch.setattr(loop, "_feed", interrupted)


def test_a_budget_that_would_have_been_another_past_is_refused(capsys):
    assert train("cosine") == 0
    before = losses("cosine")
    assert train("cosine", "--budget", "16 steps") == 2
    refused(capsys, "WarmupCosine", "'12 steps'", "--from cosine --run DIRECTORY")
    assert train("cosine", "--budget", "8 steps") == 2
    refused(capsys, "8 steps, and the run has made 12")
    assert train("cosine", "--model.width", "8") == 2
    refused(capsys, "another experiment", "model.width: 16 there, 8 now")
    assert train("cosine", "--evaluations.likelihood.every", "3 steps") == 2
    refused(capsys, "evaluations.likelihood.every")
    np.testing.assert_array_equal(losses("cosine"), before)


def test_notes_and_patience_may_change(capsys):
    args = [*CONSTANT, "--budget", "4 steps"]
    assert train("noted", *args) == 0
    shorter = Path("noted/result.json").read_text()
    more = ["--evaluations.sample.length", "3", "--evaluations.more", "Likelihood"]
    args[-1] = "8 steps"
    assert train("noted", *args, *more, "--patience", "9") == 0
    result = read_result(Path("noted"))
    # What was scored at the end of the shorter budget is kept.
    assert [entry["step"] for entry in result["scores"]] == [4, 8, 8]
    _, watched, more = result["scores"]
    assert more == watched | {"evaluation": "more"}
    kept = json.loads(Path("noted/experiment.json").read_text())["experiment"]
    assert kept["evaluations"]["sample"]["length"] == 3 and kept["patience"] == 9
    (Path("noted") / "curve.png").unlink()  # killed before it was drawn
    assert train("noted", *args, "--patience", "9") == 0
    assert Path("noted/curve.png").exists() and read_result(Path("noted")) == result
    # Killed when it had saved its end, and not yet written what came out.
    Path("noted/result.json").write_text(shorter)
    assert train("noted", *args, "--patience", "9") == 0
    again = read_result(Path("noted"))
    assert again["steps"] == 8 and again["scores"][-1] == watched


def test_a_run_stands_alone(folder, unmoved, capsys):
    """Copied, and no corpus, cache or home left: it writes, is scored, goes on."""
    alone = folder / "alone"
    alone.mkdir()
    shutil.copytree("unmoved", alone / "copy")
    (alone / "other.txt").write_text("the cat likes the moon. " * 40)
    (alone / "tiny.py").write_text(Path("tiny.py").read_text())
    # What XLA compiled for the other tests is not the run's.
    compiler = {k: v for k, v in os.environ.items() if k.startswith(("JAX_", "XLA_"))}
    environment = compiler | {
        "PATH": os.environ["PATH"],
        "HOME": str(alone / "nowhere"),
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
    }
    environment["XLA_FLAGS"] = environment["XLA_FLAGS"].replace("count=8", "count=1")

    def run(*args):
        command = [sys.executable, "-m", "lm_jax", *args]
        return subprocess.run(
            command, cwd=alone, env=environment, capture_output=True, text=True
        )

    here = main(["generate", "unmoved", "--prompt", "the ", "--length", "9"])
    said = capsys.readouterr().out
    made = run("generate", "copy", "--prompt", "the ", "--length", "9")
    assert here == made.returncode == 0, made.stderr
    assert made.stdout == said
    lost = run("evaluate", "copy")
    assert lost.returncode == 2 and "There is no file" in lost.stderr
    scored = run("evaluate", "copy", "--corpus", "other.txt")
    assert scored.returncode == 0, scored.stderr
    assert "959 tokens of 960 bytes" in scored.stdout
    (alone / "text.txt").write_text(Path("text.txt").read_text())
    args = ["tiny.py", "--run", "copy", *CONSTANT, "--budget", "18 steps"]
    more = run("train", *args)
    assert more.returncode == 0, more.stderr
    np.testing.assert_allclose(losses(alone / "copy")[:16], losses("unmoved"))
    assert main(["train", *args[:2], "unmoved", *args[3:]]) == 0
    np.testing.assert_allclose(losses(alone / "copy"), losses("unmoved"), rtol=1e-4)


def evaluated(capsys, *args):
    code = main(["evaluate", "unmoved", *args])
    said = capsys.readouterr()
    return code, said.out + said.err


def test_other_windows_score_the_same_tokens_with_more_before_them(unmoved, capsys):
    code, said = evaluated(capsys, "--stride", "4")
    assert code == 0 and "187 tokens" in said and "at least 12 before" in said
    before = read_result(Path("unmoved"))
    assert evaluated(capsys, "--context", "8")[0] == 0
    after = read_result(Path("unmoved"))
    *kept, added = after["scores"]
    assert kept == before["scores"]
    assert added["policy"] == "disjoint windows of 8 tokens"
    points = ("end", "best")
    whole = [find_scores(before, "validation", at) for at in points]
    assert [find_scores(after, "validation", at) for at in points] == whole
    code, said = evaluated(capsys, "--context", "64")
    assert code == 2 and "--context 64: model.positions.length is 16" in said
    code, said = evaluated(capsys, "--stride", "17")
    assert code == 2 and "data.stride=17" in said
    rotary = ["--model.positions", "Rotary", "--budget", "2 steps"]
    assert train("rotary", *rotary) == 0
    assert main(["evaluate", "rotary", "--context", "64", "--stride", "16"]) == 0
