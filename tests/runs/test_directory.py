"""A run's directory: open in one process, found by any path into it."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import pytest

from lm_jax.errors import UserError
from lm_jax.runs.directory import (
    find_run,
    held,
    in_use,
    open_run,
    runs_below,
    title_of,
)

HOLD = """
import sys, time
from pathlib import Path
from lm_jax.runs.directory import open_run
with open_run(Path(sys.argv[1])):
    print("open", flush=True)
    time.sleep(60)
"""


def make_run(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "experiment.json").write_text("{}")
    return path


def fails_with(code: int):
    def fail(*arguments, **named):
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("depth", ["", "variant/seed0"])
def test_a_file_where_the_run_should_be_is_said(tmp_path, depth):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match="file is in the way"),
        open_run(tmp_path / "file" / depth),
    ):
        pass


def test_a_read_only_place_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "mkdir", fails_with(errno.EROFS))
    with pytest.raises(UserError, match="read-only"), open_run(tmp_path / "run"):
        pass


def test_a_run_is_open_in_one_process_only_and_free_after_a_kill(tmp_path):
    run = tmp_path / "experiment" / "base" / "seed0"
    command = [sys.executable, "-c", HOLD, str(run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(UserError, match=f"process {holder.pid} on"), open_run(run):
            pass
        holder.kill()
    with open_run(run) as opened:
        assert opened == run
        assert f"process {os.getpid()} on" in (run / ".lock").read_text()
    with open_run(run):
        pass


def test_without_locks_a_run_opens_with_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr("fcntl.flock", fails_with(errno.ENOLCK))
    with pytest.warns(UserWarning, match="no locks"), open_run(tmp_path / "run"):
        pass


def test_a_run_is_found_by_any_path_into_it(tmp_path):
    run = make_run(tmp_path / "gpt" / "base" / "seed0")
    inside = run / "checkpoints" / "250"
    inside.mkdir(parents=True)
    (inside / "array").write_text("")
    wanted = [run, inside, inside / "array", tmp_path / "gpt", tmp_path]
    assert [find_run(path) for path in wanted] == [run] * len(wanted)


def test_a_relative_path_is_enough(tmp_path, monkeypatch):
    run = make_run(tmp_path / "runs" / "gpt" / "base" / "seed0")
    monkeypatch.chdir(run)
    assert find_run(Path(".")).resolve() == run
    monkeypatch.chdir(run.parent)
    assert find_run(Path("seed0")) == Path("seed0")


def test_several_runs_are_listed(tmp_path):
    runs = [make_run(tmp_path / "gpt" / "base" / f"seed{k}") for k in range(3)]
    make_run(runs[0] / "checkpoints" / "250")  # a copy inside a run is no run
    with pytest.raises(UserError, match="several runs") as caught:
        find_run(tmp_path / "gpt")
    assert all(str(run) in str(caught.value) for run in runs)
    assert runs_below(tmp_path) == runs


def test_a_name_that_is_not_there_lists_the_nearest_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ["lstm_ptb/base", "gpt_shakespeare/rope", "names/base"]:
        make_run(Path("runs", name, "seed0"))
    with pytest.raises(UserError) as caught:
        find_run(Path("runs/gpt_shakespear/rope/seed0"))
    lines = str(caught.value).splitlines()
    assert lines[1].strip() == "runs/gpt_shakespeare/rope/seed0"
    assert len(lines) == 4


def test_a_long_list_is_cut(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for k in range(13):
        make_run(Path("runs", "gpt", "base", f"seed{k}"))
    with pytest.raises(UserError, match="and 3 more"):
        find_run(Path("elsewhere"))


@pytest.mark.parametrize("exists", [True, False])
def test_without_any_run_it_says_how_to_get_one(tmp_path, monkeypatch, exists):
    monkeypatch.chdir(tmp_path)
    if exists:
        Path("empty").mkdir()
    with pytest.raises(UserError, match="train one first"):
        find_run(Path("empty"))


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_without_locks_tells_nobody_and_stops_nobody(
    tmp_path, monkeypatch, code
):
    (tmp_path / ".lock").touch()

    def refuse(*_):
        raise OSError(code, "no locks")

    monkeypatch.setattr("fcntl.flock", refuse)
    assert in_use(tmp_path) is None
    with held(tmp_path / "x.json"):
        assert (tmp_path / ".x.lock").exists()


def test_what_is_held_is_waited_for(tmp_path):
    made = []

    def add(name):
        for _ in range(20):
            with held(tmp_path / "x.lock"):
                made.append(name)
                time.sleep(0.001)
                made.append(name)

    threads = [Thread(target=add, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 120
    assert all(a == b for a, b in zip(made[::2], made[1::2], strict=True))


def test_a_run_is_called_as_it_lies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert title_of(Path("runs/gpt/base/seed0")) == "gpt/base/seed0"
    assert title_of(Path("/elsewhere/gpt/base/seed12")) == "gpt/base/seed12"
    assert title_of(Path("runs/deeper")) == "runs/deeper"
    assert title_of(Path("/elsewhere/deeper")) == "deeper"
