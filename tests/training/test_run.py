"""A run from its command to its files: resumed equals uninterrupted."""

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from lm_jax.__main__ import main
from lm_jax.errors import UserError
from lm_jax.evaluation import Accuracy
from lm_jax.experiment import load
from lm_jax.experiment.value import Published
from lm_jax.objectives import Classify
from lm_jax.runs.metrics import read_metrics
from lm_jax.runs.model import load_model
from lm_jax.runs.picture import Measured, Reference
from lm_jax.runs.result import find_scores, read_result
from lm_jax.training import ending
from lm_jax.training.resolved import Setup
from tests.properties import slow_but
from tests.tiny import write_tiny

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that was never stopped, on eight devices."""
    return trained_in(tmp_path_factory.mktemp("uninterrupted"), "whole")


@pytest.fixture(scope="module")
def eight_steps(tmp_path_factory):
    return trained_in(tmp_path_factory.mktemp("short"), "here", "--budget", "8 steps")


def trained_in(folder, run, *args):
    here = Path.cwd()
    write_tiny(folder)
    os.chdir(folder)
    try:
        assert train(run, *args) == 0
    finally:
        os.chdir(here)
    return folder / run


def train(run, *args, file="tiny.py"):
    return main(["train", file, "--run", str(run), *args])


def curve(run):
    """(step, name, value) of everything that must come out the same."""
    rows = read_metrics(Path(run) / "metrics.jsonl")
    timed = ("tokens_per_second", "data_wait", "seconds")
    return [
        (row["step"], name, value)
        for row in rows
        for name, value in row.items()
        if name not in timed
    ]


def final_parameters(run):
    return jax.device_get(load_model(Path(run), 12).params)


def same_run(a, b):
    assert curve(a) == curve(b)
    assert Path(a, "samples.txt").read_bytes() == Path(b, "samples.txt").read_bytes()
    jax.tree.map(
        np.testing.assert_array_equal, final_parameters(a), final_parameters(b)
    )


@pytest.mark.slow
def test_a_run_writes_all_its_files_and_ends_with_its_score(capsys):
    assert train("whole") == 0
    said = capsys.readouterr().out
    assert "Validation loss" in said and "./launch.sh generate whole" in said
    assert max(len(line) for line in said.splitlines()) <= 80
    names = {path.name for path in Path("whole").iterdir()}
    assert names >= {
        "experiment.json",
        "environment.json",
        "metrics.jsonl",
        "samples.txt",
        "result.json",
        "curve.png",
        "checkpoints",
    }
    result = read_result(Path("whole"))
    rows = read_metrics(Path("whole/metrics.jsonl"))
    assert [row["step"] for row in rows if "loss" in row] == list(range(1, 13))
    last = [row["validation_loss"] for row in rows if "validation_loss" in row]
    assert len(last) == 3 and last[-1] < last[0]
    scores = find_scores(result, "validation", "end")
    assert scores["loss"] == last[-1]
    text = Path("text.txt").read_text()
    held_out = len(text) - int(0.9 * len(text))
    assert scores["tokens"] == held_out - 1
    assert main(["evaluate", "whole"]) == 0
    assert f"{min(last):.6f}" in capsys.readouterr().out


def test_the_folder_may_be_joined_to_its_flag(capsys):
    said = []
    for given in (["--run=runs/here"], ["--run", "runs/here"]):
        capsys.readouterr()
        args = ["train", "tiny.py", *given, "--processes", "2", "--dry-run"]
        assert main(args) == 0
        said.append(re.sub(r"\d{4,}", "PORT", capsys.readouterr().out))
    assert "runs/here/process_1.log" in said[0] and "tiny/base" not in said[0]


def test_what_is_drawn_is_what_is_watched(monkeypatch):
    """Of a classifier accuracy, of which more is better, beside what was published."""
    drawn: list = []
    monkeypatch.setattr(ending, "draw_run", lambda *given: drawn.append(given[2:]))
    experiment = load("tiny.py").experiment
    published = Published(0.9, "a paper", "validation", "accuracy")
    classifier = replace(
        experiment,
        objective=Classify(),
        evaluations={"likelihood": Accuracy("4 steps")},
        published=published,
    )
    for each in (experiment, classifier):
        setup = object.__new__(Setup)
        vars(setup)["experiment"] = each
        ending._draw(setup, Path("run"))
    assert drawn == [
        (None, Measured("nats per token", "loss", False)),
        (
            Reference("a paper", "accuracy", 0.9),
            Measured("nats per text", "accuracy", True),
        ),
    ]


@pytest.mark.parametrize("file", slow_but(["tiny.py", "tiny.py:recurrent"], "tiny.py"))
def test_resumed_equals_uninterrupted_after_a_stop(monkeypatch, file, whole):
    """Stopped by a signal between evaluations, and gone on with."""
    train = functools.partial(globals()["train"], file=file)
    if file != "tiny.py":
        whole = "whole"
        assert train(whole) == 0
    from lm_jax.training import loop

    feed, sent = loop._feed, iter((signal.SIGTERM, signal.SIGHUP))

    def interrupted(setup, first):
        for item in feed(setup, first):
            if item[0] == first + 5:
                os.kill(os.getpid(), next(sent))
            yield item

    monkeypatch.setattr(loop, "_feed", interrupted)
    hang_up = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup too
    for _ in range(2):
        assert train("stopped") == 0
        assert not Path("stopped/result.json").exists()
    signal.signal(signal.SIGHUP, hang_up)
    monkeypatch.setattr(loop, "_feed", feed)
    assert train("stopped") == 0
    same_run(whole, "stopped")
    before = Path("stopped/metrics.jsonl").read_bytes()
    result = read_result(Path("stopped"))
    assert train("stopped") == 0
    assert Path("stopped/metrics.jsonl").read_bytes() == before
    assert read_result(Path("stopped")) == result
    # Killed between the last checkpoint and the result.
    Path("stopped/result.json").unlink()
    assert train("stopped") == 0
    again = read_result(Path("stopped"))
    for name in ("scores", "best", "steps", "seconds"):
        assert again[name] == result[name]


@pytest.mark.slow
def test_ctrl_c_saves_and_ends_with_130(monkeypatch, capsys):
    from lm_jax.training import loop

    feed = loop._feed

    def interrupted(setup, first):
        for item in feed(setup, first):
            if item[0] == 3:
                os.kill(os.getpid(), signal.SIGINT)
            yield item

    monkeypatch.setattr(loop, "_feed", interrupted)
    assert train("stopped") == 130
    said = capsys.readouterr().out
    assert "step 3" in said and "./launch.sh train tiny.py --run stopped" in said
    assert load_model(Path("stopped"), 3).step == 3


@pytest.mark.slow
def test_killed_at_any_moment_equals_uninterrupted(whole):
    """kill -9 in the midst of steps, saves and evaluations."""
    command = [sys.executable, "-m", "lm_jax", "train", "tiny.py", "--run", "killed"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    metrics = Path("killed/metrics.jsonl")
    for lines in (3, 8, 10):
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + 600
        while process.poll() is None and time.monotonic() < deadline:
            if metrics.exists() and metrics.read_bytes().count(b"\n") >= lines:
                process.kill()
            time.sleep(0.002)
        assert process.wait() == -signal.SIGKILL, process.stderr.read().decode()
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    same_run(whole, "killed")


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2, 4])
def test_the_same_curve_on_any_number_of_devices(devices, monkeypatch, whole):
    """Sums over devices are added in another order: a few units of float32.

    Twelve steps of Adam let that grow; 2e-5 is a hundred times less than what
    another dropout mask or another row in the batch would change.
    """
    everything = jax.devices()
    assert len(everything) == 8
    monkeypatch.setattr(jax, "devices", lambda: everything[:devices])
    assert train("some") == 0
    a, b = curve(whole), curve("some")
    assert [row[:2] for row in a] == [row[:2] for row in b]
    losses = [(x[2], y[2]) for x, y in zip(a, b, strict=True) if x[1].endswith("loss")]
    np.testing.assert_allclose(*np.transpose(losses), rtol=2e-5)
    # What eight devices wrote is read by fewer.
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=5e-4),
        final_parameters(whole),
        final_parameters("some"),
    )


@pytest.mark.slow
def test_evaluations_report_their_progress(monkeypatch):
    from lm_jax.runs.display import Display

    seen = []
    monkeypatch.setattr(Display, "work", lambda self, *what: seen.append(what))
    assert train("here", "--budget", "4 steps") == 0
    assert ("evaluating", 0, 1) in seen and ("evaluating", 1, 1) in seen


def test_another_experiment_in_the_same_place_is_refused(eight_steps, capsys):
    shutil.copytree(eight_steps, "here")
    before = Path("here/experiment.json").read_bytes()
    assert train("here", "--budget", "8 steps", "--model.layers", "2") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "model.layers: 1 there, 2 now" in said and "--run" in said
    assert Path("here/experiment.json").read_bytes() == before


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "digests"])
def test_a_damaged_checkpoint_is_named_and_kept(damage, eight_steps, capsys):
    shutil.copytree(eight_steps, "here")
    folder = Path("here/checkpoints/8")
    largest = max(
        (p for p in folder.rglob("*") if p.is_file() and p.parent.name == "d"),
        key=lambda p: p.stat().st_size,
    )
    content = largest.read_bytes()
    if damage == "truncate":
        largest.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        middle = len(content) // 2
        flipped = bytes([content[middle] ^ 4])
        largest.write_bytes(content[:middle] + flipped + content[middle + 1 :])
    elif damage == "remove":
        largest.unlink()
    else:
        (folder / "digests.json").unlink()
    before = {p: p.stat().st_mtime_ns for p in Path("here").rglob("*")}
    assert train("here", "--budget", "8 steps") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert str(folder) in said and "Nothing was deleted" in said
    name = "digests.json" if damage == "digests" else largest.name
    assert name in said
    after = {p: p.stat().st_mtime_ns for p in Path("here").rglob("*")}
    for path in (p for p in before if "checkpoints" in str(p) and p.is_file()):
        assert before[path] == after[path]


@pytest.mark.slow
def test_what_diverges_is_saved_with_its_batch(capsys):
    assert train("wild", "--schedule.peak", "1e30", "--optimizer.clip", "None") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "is not finite" in said and "Traceback" not in said
    (folder,) = Path("wild").glob("diverged_at_step_*")
    step = int(folder.name.rpartition("_")[2])
    report = json.loads((folder / "statistics.json").read_text())
    assert report["step"] == step
    assert "block_0/attention/query/kernel" in report["layers"]
    assert np.load(folder / "batch.npz")["inputs"].shape == (8, 16)
    assert step - 1 in [int(p.name) for p in Path("wild/checkpoints").iterdir()]
    assert train("wild", "--schedule.peak", "1e30", "--optimizer.clip", "None") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert f"step {step} is not finite" in said


def test_a_run_without_its_checkpoints_is_not_begun_again(whole, capsys):
    shutil.copytree(whole, "whole")
    shutil.rmtree("whole/checkpoints")
    before = Path("whole/result.json").read_bytes()
    assert train("whole") == 2
    assert "has no checkpoint" in " ".join(capsys.readouterr().err.split())
    assert Path("whole/result.json").read_bytes() == before


@pytest.mark.slow
def test_patience_stops_early(capsys):
    often = ["--evaluations.likelihood.every", "2 steps", "--patience", "2"]
    rare = ["--evaluations.rare", "Likelihood", "--evaluations.rare.every", "5 steps"]
    none = ["--evaluations.none", "Likelihood", "--evaluations.none.every", "50 steps"]
    worse = ["--schedule", "Constant", "--schedule.peak", "1", "--average", "None"]
    args = [*often, *rare, *none, *worse, "--budget", "60 steps"]
    assert train("early", *args) == 0
    assert "no better validation loss in 2" in capsys.readouterr().out
    result = read_result(Path("early"))
    steps = result["steps"]
    assert steps < 50 and steps % 5
    # All that is scored is scored at the end, due there or not.
    assert [each["step"] for each in result["scores"]] == [steps] * 3
    watched, *others = (each["scores"] for each in result["scores"])
    assert others == [watched] * 2
    assert train("early", *args) == 0
    assert load_model(Path("early"), steps).step == steps
    assert max(int(p.name) for p in Path("early/checkpoints").iterdir()) == steps


@pytest.mark.slow
def test_the_last_and_the_best_checkpoints_are_kept():
    args = (
        "--evaluations.likelihood.every",
        "2 steps",
        "--keep",
        "1",
        "--schedule.peak",
        "3",
        "--schedule.warmup",
        "2 steps",
    )
    assert train("kept", *args, "--average", "None", "--optimizer.clip", "None") == 0
    rows = read_metrics(Path("kept/metrics.jsonl"))
    scores = {r["step"]: r["validation_loss"] for r in rows if "validation_loss" in r}
    best = min(scores, key=scores.get)
    assert best != 12
    kept = {int(p.name) for p in Path("kept/checkpoints").iterdir()}
    assert kept == {best, 12}
    assert load_model(Path("kept")).step == best
    with pytest.raises(UserError, match="none of 7"):
        load_model(Path("kept"), 7)


@pytest.mark.slow
def test_what_only_the_update_made_infinite_leaves_a_state_to_use(capsys):
    """A rate times a decay that no float32 holds, of a finite gradient."""
    args = ("--optimizer.weight-decay", "1e30", "--schedule.peak", "1e30")
    assert train("stuck", *args) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "update of step 1 is not finite" in said and "optimizer.b1" in said
    params = load_model(Path("stuck"), 0).params
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
