"""Cells on a cluster: each is sent once, none is trained twice, all are gathered."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lm_jax.__main__ import main
from lm_jax.ablation import Study, log_uniform
from lm_jax.errors import UserError
from lm_jax.runs.directory import open_run
from lm_jax.runs.display import Display
from lm_jax.scaling.kubernetes import kubernetes_array
from lm_jax.scaling.needs import STOPPED, Needs, Tasks
from lm_jax.scaling.slurm import slurm_array
from lm_jax.sweeping import task
from lm_jax.sweeping.submitted import MANIFEST, Submitted
from lm_jax.sweeping.sweep import carry_out, to_submit
from tests.sweeping import test_sweep
from tests.sweeping.test_sweep import begin, end, in_folder, resolved_once

__all__ = ["in_folder", "resolved_once"]
FOLDER = Path("runs/tiny")
WORDS = ["-m", "lm_jax.sweeping.task", "a folder"]


def command(folder, name, text):
    """Put a command of a name into a folder."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def slurm(monkeypatch):
    """SLURM as a sweep sees it: it keeps what it is sent, and says what waits."""
    here, bin = Path.cwd(), Path("bin")
    command(bin, "sbatch", f'cat >> {here}/sent; echo "7;one"')
    command(bin, "squeue", f"cat {here}/queue")
    Path("queue").touch()
    Path("sent").touch()
    monkeypatch.setenv("PATH", f"{here}/bin:{os.environ['PATH']}")


def sent():
    """The indices of the arrays that were sent, and forget them."""
    lines = Path("sent").read_text().splitlines()
    Path("sent").write_text("")
    head = "#SBATCH --array="
    return [line.removeprefix(head) for line in lines if line.startswith(head)]


def planned(study=Study(seeds=2), on="slurm"):
    return replace(test_sweep.plan(study), on=on)


def swept(plan, at_once=None):
    submitted = Submitted(plan, Needs(), at_once)
    return carry_out(plan, Display(0), submitted)


def words(report):
    return [state.word for state in report.states.values()]


def test_cells_are_sent_gathered_and_sent_again(slurm, capsys):
    plan = planned()
    report = swept(plan, at_once=3)
    assert sent() == ["0-3%3"] and words(report) == ["queued"] * 4
    assert report.comparisons == {} and report.signal is None
    end(plan.cells[0])
    (plan.cells[1].run / "failed.log").write_text("a trace\nNo room.")
    Path("queue").write_text("2\n3\n")
    capsys.readouterr()
    assert words(swept(plan)) == ["ended", "queued", "queued", "queued"]
    assert sent() == ["1"]
    assert "wide seed 0  queued        failed before: No room." in (
        capsys.readouterr().out
    )
    with open_run(plan.cells[2].run):
        assert words(swept(plan))[2] == "running" and sent() == ["1"]
    with pytest.raises(UserError, match="--on: slurm there, None now"):
        carry_out(replace(plan, on=None), Display(0))
    for cell in plan.cells:
        end(cell)
    assert set(swept(plan).comparisons) == {"wide"} and sent() == []


def test_what_is_tuned_is_sent_before_what_is_compared(slurm):
    study = Study(seeds=2, tune={"schedule.peak": log_uniform(1e-3, 1e-2)}, trials=4)
    plan = planned(study)
    asked = plan, Submitted(plan, Needs(), None), Display(0)
    assert "array=0-7\n" in to_submit(*asked)
    for trial in plan.trials:
        end(trial)
    assert "array=8-11\n" in to_submit(*asked)


def test_a_dry_run_shows_what_it_would_send_whatever_the_scheduler_says(slurm, capsys):
    plan = planned()
    asked = plan, Submitted(plan, Needs(), None), Display(0, sys.stderr)
    Path("queue").write_text("0\n")
    assert "array=1-3\n" in to_submit(*asked) and capsys.readouterr().err == ""
    command(Path("bin"), "squeue", "echo Unable to contact controller >&2; exit 1")
    assert "array=0-3\n" in to_submit(*asked)
    said = " ".join(capsys.readouterr().err.split())
    assert said.startswith("squeue says: Unable to contact controller. What it has")
    with pytest.raises(UserError, match="squeue says"):
        swept(plan)
    assert sent() == []


def test_what_is_sent_is_shown_and_nothing_is_changed(capsys):
    asked = ["sweep", "tiny.py", "--on", "kubernetes", "--gpus", "2", "--dry-run"]
    assert main(asked) == 0 and not FOLDER.exists()
    spec = json.loads(capsys.readouterr().out)["spec"]
    container = spec["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 2}
    plan = planned(on="kubernetes")
    assert words(swept(plan)) == ["queued"] * 4
    assert json.loads((FOLDER / MANIFEST).read_text())["spec"]["completions"] == 4


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("--at-once 2", "--at-once is for cells that a cluster trains"),
        ("--dry-run", "--dry-run is for cells that a cluster trains"),
        ("--on slurm --workers 2", "--on takes others"),
        ("--on slurm --dry-run --slurm array=1-3", "How many run at once is --at-once"),
        ("--on slurm --dry-run --slurm=--time=9", "leave out the dashes"),
    ],
)
def test_what_means_nothing_is_refused(asked, said, capsys):
    assert main(["sweep", "tiny.py", *asked.split()]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.fixture
def trained(monkeypatch):
    """What tasks train, in place of training: a cell ends, but as is said of it."""
    found, fates = [], {}

    def run_cell(cell, display):
        found.append(cell.name)
        if fate := fates.pop(cell.name, None):
            return fate(cell)
        return end(cell)

    monkeypatch.setattr(task, "run_cell", run_cell)
    monkeypatch.setattr(task, "_LOOK", 0.01)
    return found, fates


def test_a_task_begins_its_cell_once_and_goes_on_with_it(slurm, trained):
    plan, (found, fates) = planned(), trained
    swept(plan)
    names = [cell.name for cell in plan.cells]

    def fails(cell):
        raise UserError("It doesn't fit.")

    fates |= {names[1]: fails, names[2]: lambda cell: begin(cell) or signal.SIGTERM}
    done = [task.main([str(FOLDER), str(number)]) for number in (0, 0, 1, 2, 2)]
    assert done == [0, 0, 1, STOPPED, 0]
    assert found == [names[0], names[1], names[2], names[2]]
    assert (plan.cells[1].run / "failed.log").read_text() == "It doesn't fit."
    assert task.main([str(FOLDER), "4"]) == 1


def test_a_task_waits_for_who_is_still_saving(slurm, trained, monkeypatch):
    plan, (found, _) = planned(), trained
    swept(plan)
    held, seen = threading.Event(), []

    def save():
        with open_run(plan.cells[3].run):
            held.set()
            time.sleep(0.3)
            seen.extend(found)

    threading.Thread(target=save).start()
    held.wait()
    assert task.main([str(FOLDER), "3"]) == 0
    assert seen == [] and found == [plan.cells[3].name]
    monkeypatch.setattr(task, "_WAIT", 0.05)
    with open_run(plan.cells[2].run):
        assert task.main([str(FOLDER), "2"]) == 0  # it is another's, and trained there
    assert found == [plan.cells[3].name]


@pytest.mark.parametrize(
    ("status", "job", "again"),
    [
        (STOPPED, "JobState=RUNNING PreemptTime=None", True),
        (143, "JobState=RUNNING PreemptTime=None", True),
        (0, "JobState=COMPLETING PreemptTime=2026-01-01T00:00:00", True),
        (STOPPED, "JobState=COMPLETING PreemptTime=None", False),  # scancel, requeue
        (0, "JobState=RUNNING PreemptTime=None", False),
        (1, "JobState=RUNNING PreemptTime=None", False),
    ],
)
def test_a_task_that_was_stopped_is_submitted_again(tmp_path, status, job, again):
    command(tmp_path, "srun", f"exit {status}")
    command(tmp_path, "scontrol", f'[ "$3" = 7_3 ] && echo "{job}"')
    command(tmp_path, "sbatch", f'echo "$@" > {tmp_path}/again')
    Path("job.sh").write_text(
        slurm_array(Tasks("s", WORDS, [0, 3], Path("%a.log")), Needs())
    )
    variables = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"}
    variables["PATH"] = f"{tmp_path}:/usr/bin:/bin"
    done = subprocess.run(["bash", "job.sh"], env=variables)
    assert done.returncode == (0 if again else status)
    assert (tmp_path / "again").exists() == again
    if again:
        assert (tmp_path / "again").read_text() == "--array=3 job.sh\n"


def test_an_index_of_a_job_has_its_cell(tmp_path):
    text = kubernetes_array(Tasks("s", WORDS, [2, 5, 6], Path("%a.log"), 2), Needs())
    spec = json.loads(text)["spec"]
    assert (spec["completions"], spec["parallelism"]) == (3, 2)
    assert spec["podReplacementPolicy"] == "Failed"
    assert "backoffLimit" not in spec and spec["backoffLimitPerIndex"] == 0
    command(tmp_path, "python", 'printf "%s\\n" "$@"')
    done = subprocess.run(
        spec["template"]["spec"]["containers"][0]["command"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "JOB_COMPLETION_INDEX": "1"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split("\n")[-3:-1] == ["a folder", "5"]
