"""The list of runs: how far each is, and what it takes on the disk."""

import json
import math
import os
import time

import pytest
from rich.cells import cell_len

from lm_jax.__main__ import main
from lm_jax.runs.directory import in_use, open_run
from lm_jax.runs.listing import listed
from lm_jax.runs.metrics import MetricsLog, last_rows
from tests.runs.test_table import write_result


def begin(run, rows=(), budget="100 steps", **more):
    """Write what a run has while it trains."""
    run.mkdir(parents=True)
    document = {"format": 3, "experiment": {"budget": budget} | more}
    (run / "experiment.json").write_text(json.dumps(document))
    log = MetricsLog(run / "metrics.jsonl")
    for step, row in rows:
        log.write(step, row)
    log.close()
    return run


def shown(capsys, *args):
    assert main(["runs", *map(str, args)]) == 0
    said = capsys.readouterr().out
    assert max(map(cell_len, said.splitlines())) <= 80
    return said


ROWS = [(1, {"loss": 5.0}), (4, {"validation_loss": 3.5}), (5, {"loss": 3.0})]


def test_a_run_that_was_stopped_and_one_that_trains(tmp_path):
    run = begin(tmp_path / "run", ROWS)
    found = listed(run)
    assert (found.state, found.step, found.budget) == ("stopped", 5, "100 steps")
    assert found.score == ("loss", 3.5)
    with open_run(run):
        assert listed(run).state == "running"
    assert listed(run).state == "stopped"


def test_a_run_that_ended_and_one_that_went_on(tmp_path):
    run = begin(tmp_path / "run", [(50, {"loss": 1.0})])
    result = begin(tmp_path / "other")
    write_result(result / "x", 2.0)
    (result / "x" / "result.json").rename(run / "result.json")
    found = listed(run)
    assert (found.state, found.score) == ("ended", ("loss", 2.0))
    log = MetricsLog(run / "metrics.jsonl")
    log.write(51, {"loss": 1.0})
    log.close()
    assert listed(run).state == "stopped"


def test_a_score_of_another_split_or_text_is_not_shown(tmp_path, capsys, monkeypatch):
    run = begin(tmp_path / "ng")
    write_result(tmp_path / "other", 2.0)
    result = json.loads((tmp_path / "other" / "result.json").read_text())
    (own,) = [e for e in result["scores"] if e["split"] == "validation"]
    for other in ({"split": "test"}, {"corpus": "another"}):
        result["scores"].append(own | other | {"scores": {"loss": 9.0}})
    (run / "result.json").write_text(json.dumps(result))
    assert listed(run).score == ("loss", 2.0)
    monkeypatch.chdir(tmp_path)
    assert shown(capsys, "ng").splitlines()[0].startswith("run  ")


def test_the_list_is_one_object_for_programs(tmp_path, capsys):
    begin(tmp_path / "good", [(4, {"validation_loss": math.inf}), (5, {"loss": 3.0})])
    (begin(tmp_path / "worse", ROWS) / "metrics.jsonl").write_text("no\n")
    begin(tmp_path / "new")
    assert main(["runs", str(tmp_path), "--json"]) == 0
    said = capsys.readouterr()
    good, new, worse = json.loads(said.out)["runs"]
    assert good.pop("age") < 60 and good.pop("bytes") == listed(tmp_path / "good").bytes
    assert good == {
        "run": str(tmp_path / "good"),
        "state": "stopped",
        "step": 5,
        "budget": "100 steps",
        "score": "loss",
        "value": "inf",
        "problem": None,
    }
    assert (new["step"], new["score"], new["value"]) == (0, None, None)
    assert (worse["state"], worse["step"]) == ("unreadable", None)
    assert worse["problem"] in said.err


def test_size_and_age_are_those_of_all_files(tmp_path):
    run = begin(tmp_path / "run", ROWS)
    before = listed(run).bytes
    (run / "checkpoints" / "4").mkdir(parents=True)
    (run / "checkpoints" / "4" / "array").write_bytes(b"x" * 5000)
    assert listed(run).bytes == before + 5000
    then = time.time() - 7200
    for path in run.rglob("*"):
        os.utime(path, (then, then))
    assert listed(run).seconds == pytest.approx(7200, abs=60)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("experiment.json", "{"),
        ("experiment.json", "[]"),
        ("experiment.json", '{"experiment": 3}'),
        ("metrics.jsonl", "no\n"),
        ("result.json", '{"scores": '),
        ("metrics.jsonl", None),  # refused by the system, as for want of permission
        ("result.json", None),
    ],
)
def test_what_cannot_be_read_is_listed_as_such(tmp_path, capsys, name, text):
    begin(tmp_path / "good", ROWS)
    run = begin(tmp_path / "bad", ROWS)
    (run / name).unlink(missing_ok=True)
    (run / name).mkdir() if text is None else (run / name).write_text(text)
    assert main(["runs", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "unreadable" in said.out and "2 runs, " in said.out
    assert f"bad/{name}" in said.err
    assert text is None or (run / name).read_text() == text


@pytest.mark.parametrize("name", ["a-long-name-" * 12, "唐诗三百首" * 9, "short"])
def test_paths_are_whole_and_columns_stand(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    begin(tmp_path / "runs" / name / "base" / "seed0", ROWS)
    begin(tmp_path / "runs" / "x" / "base" / "seed0", ROWS)
    said = shown(capsys)
    assert f"runs/{name}/base/seed0" in said.replace("\n", "")
    ends = {cell_len(line) for line in said.splitlines()[:-1] if " stopped " in line}
    assert len(ends) == 1
    assert "2 runs, " in said


NAME = "a\nb\x1b[31m\u202e"  # a line end, red from here on, and right to left


def test_what_a_terminal_would_obey_in_a_name_is_spelled(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    begin(tmp_path / "runs" / NAME / "base" / "seed0", ROWS)
    bad = begin(tmp_path / "runs" / NAME / "base" / "seed1")
    (bad / "metrics.jsonl").write_text("no\n")
    assert main(["runs"]) == 0
    said = capsys.readouterr()
    for text in said.out, said.err:
        assert "runs/a\\nb\\x1b[31m\\u202e/base/seed" in text
        assert not set("\x1b\u202e") & set(text)


def test_a_folder_without_runs_is_said(tmp_path, capsys):
    for folder, told in ((tmp_path, "has no run"), (tmp_path / "x", "is no folder")):
        assert main(["runs", str(folder)]) == 2
        assert told in " ".join(capsys.readouterr().err.split())


def test_the_end_of_a_long_log_is_read(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    log.write(1, {"validation_loss": 2.5})
    for step in range(2, 300):
        log.write(step, {"loss": 1 / step})
    log.close()
    whole = last_rows(path)
    assert whole[0]["step"] == 299 and whole[1] == {"step": 1, "validation_loss": 2.5}
    for tail in (10, 100, 5000):
        assert last_rows(path, tail) == whole
    assert last_rows(tmp_path / "none") == ({}, {})


def test_to_look_whether_a_run_is_in_use_keeps_nobody_out(tmp_path):
    run = begin(tmp_path / "run")
    assert in_use(run) is False
    assert not (run / ".lock").exists()
    with open_run(run):
        assert in_use(run) is True
    assert in_use(run) is False
