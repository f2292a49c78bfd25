"""Cells side by side: the same numbers, and none is lost with its process."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from lm_jax.__main__ import main
from lm_jax.ablation import Study
from lm_jax.errors import UserError
from lm_jax.experiment import save
from lm_jax.runs.code import read_starts
from lm_jax.runs.directory import open_run
from lm_jax.runs.display import Display
from lm_jax.runs.metrics import read_metrics
from lm_jax.sweeping import shares as sharing
from lm_jax.sweeping import side_by_side
from lm_jax.sweeping.live import Board, BoardDisplay, Pace
from lm_jax.sweeping.shares import shares
from lm_jax.sweeping.side_by_side import chosen
from lm_jax.sweeping.sweep import carry_out
from lm_jax.sweeping.worker import handed_over
from tests.sweeping import test_sweep
from tests.sweeping.test_sweep import begin, end, in_folder, resolved_once, told

__all__ = ["in_folder", "resolved_once"]
# It trains nothing: a cell ends as the test has said beforehand, unless it is to die
# with it, or to train until it is told to stop.
FAKE = """
import json, os, pathlib, shutil, sys

def tell(do, *args):
    print(json.dumps({"do": do, "args": args}), flush=True)

for line in sys.stdin:
    name = line.strip()
    with open("asked", "a") as file:
        file.write(f"{os.getpid()} {name}\\n")
    tell("progress", 1, 2.5)
    fate = pathlib.Path("fates", name.replace("/", "_"))
    said = fate.read_text().split() if fate.exists() else []
    if said[:1] == ["dies"]:
        fate.write_text(" ".join(said[1:]))
        print('{"do": "mess', end="", flush=True)  # half a line, as a kill leaves it
        print("out of memory", file=sys.stderr, flush=True)
        os.kill(os.getpid(), 9)
    if said[:1] == ["trains"]:
        sys.stdin.read()
        tell("left", 15, "")
        break
    shutil.copytree(f"ended/{name}", f"{sys.argv[1]}/{name}", dirs_exist_ok=True)
    tell("left", None, "")
"""


@pytest.fixture
def faked(monkeypatch):
    """Workers that train nothing; gives the processes that were started."""
    started = []

    def start(module, words, *, stdout, stderr, variables, apart):
        assert module == "lm_jax.sweeping.worker" and apart
        process = subprocess.Popen(
            [sys.executable, "-c", FAKE, *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
        )
        started.append(process)
        return process

    monkeypatch.setattr(side_by_side, "start", start)
    monkeypatch.setattr(sharing, "_cores", lambda: (0, 1))
    Path("fates").mkdir()
    for cell in test_sweep.plan(Study(seeds=5), "ended").cells:
        end(cell)
    yield started
    assert all(process.poll() is not None for process in started)


def planned(workers=2):
    made = test_sweep.plan()
    return type(made)(made.folder, made.study, made.variants, workers)


def swept(workers=2):
    return carry_out(planned(workers), Display(0))


def asked():
    return [line.split()[1] for line in Path("asked").read_text().splitlines()]


def test_all_cells_end_on_as_many_processes(faked, capsys):
    report = swept()
    assert len(faked) == 2 and Counter(asked()) == Counter(
        c.name for c in planned().cells
    )
    assert report.comparisons["wide"].mean == pytest.approx(0.196)
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    assert "wide seed 4  ended" in said
    assert json.loads(Path("runs/tiny/sweep.json").read_text())["workers"] == 2
    # What has ended is shown by any number of processes.
    assert told(swept(None)) == told(report) and len(faked) == 2


def test_a_process_that_dies_is_a_cell_to_begin_again(faked, capsys):
    Path("fates/wide_seed1").write_text("dies")
    report = swept()
    assert report.comparisons and Counter(asked())["wide/seed1"] == 2
    assert len(faked) == 3 and faked[0].args != faked[1].args
    assert faked[2].args in (faked[0].args, faked[1].args)
    said = " ".join(capsys.readouterr().out.split())
    assert "wide seed 1: It ended with signal 9: out of memory. It is taken" in said


def test_one_that_dies_twice_has_failed_and_the_others_go_on(faked, capsys):
    Path("fates/base_seed2").write_text("dies dies dies")
    report = swept()
    assert Counter(asked())["base/seed2"] == 2 and not report.comparisons
    assert [cell.name for cell in report.lacking] == ["base/seed2"]
    assert "wide seed 4  ended" in capsys.readouterr().out
    assert "out of memory" in Path("runs/tiny/base/seed2/failed.log").read_text()
    assert swept().comparisons  # the third time it dies once more, and then ends


def test_a_signal_stops_all_of_them_and_the_rest_is_done_later(faked):
    for name in ("base_seed1", "wide_seed1"):
        Path("fates", name).write_text("trains")

    def interrupt():
        while "base/seed1" not in asked() or "wide/seed1" not in asked():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    Path("asked").touch()
    threading.Thread(target=interrupt, daemon=True).start()
    report = swept()
    assert report.signal == signal.SIGTERM and len(report.lacking) == 8
    for name in ("base_seed1", "wide_seed1"):
        Path("fates", name).unlink()
    assert swept().comparisons and len(asked()) == 12


def test_what_another_process_trains_is_waited_for(faked):
    """A sweep that was killed leaves processes which save and end a little later."""
    cell = planned().cells[0]
    begin(cell)
    Path("asked").touch()
    seen = []

    def hold():
        with open_run(cell.run):
            held.set()
            while len(asked()) < 9:
                time.sleep(0.05)
            time.sleep(0.5)
            seen.extend(asked())

    held = threading.Event()
    threading.Thread(target=hold, daemon=True).start()
    held.wait()
    assert swept().comparisons
    assert len(seen) == 9 and asked()[9:] == [cell.name] and cell.name not in seen


def test_another_number_of_processes_is_refused(faked):
    Path("fates/base_seed2").write_text("dies dies")
    swept()
    with pytest.raises(UserError, match="--workers: 2 there, None now"):
        swept(None)
    assert swept().comparisons


def test_a_worker_needs_the_folder_and_a_name(faked, monkeypatch):
    swept()
    folder, cell = Path("runs/tiny"), planned().cells[3]
    found = handed_over(folder, cell.name)
    assert (found.variant, found.seed, found.run) == ("wide", 1, cell.run)
    assert save(found.experiment) == save(cell.experiment)
    with pytest.raises(UserError, match="no cell 'wide/seed5'"):
        handed_over(folder, "wide/seed5")
    monkeypatch.setattr("lm_jax.sweeping.worker.own_code", lambda: {"sources": "new"})
    with pytest.raises(UserError, match="has changed since the sweep began"):
        handed_over(folder, cell.name)


def test_what_cannot_be_read_is_not_written_over(faked, capsys):
    path = planned().cells[2].run / "experiment.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    report = swept()
    assert path.read_text() == "{" and "base/seed1" not in asked()
    assert [cell.name for cell in report.lacking] == ["base/seed1"]
    assert "experiment.json is damaged" in capsys.readouterr().out


def test_a_worker_keeps_to_what_it_has_compiled():
    """Within a seed: pairs are through one after the other."""
    cells = list(planned().cells)
    nobody, base, wide = frozenset(), frozenset({"base"}), frozenset({"wide"})
    assert chosen(cells[2:], wide, base).name == "wide/seed1"
    assert chosen(cells[2:], base, wide).name == "base/seed1"
    assert chosen(cells[2:], nobody, base).name == "wide/seed1"
    assert chosen(cells[3:], base, wide).name == "wide/seed1"


def test_the_lines_of_all_that_trains_and_the_time_left(monkeypatch):
    stream, now = io.StringIO(), iter(range(100))
    monkeypatch.setattr("lm_jax.sweeping.live.time.monotonic", lambda: float(next(now)))
    cells = planned().cells[:3]
    board, pace = Board(stream), Pace({cell.run: 10.0 for cell in cells})
    one, two = (BoardDisplay(cell, 10, pace, board) for cell in cells[:2])
    one.progress(0, 3.0)
    two.progress(10, 2.5)  # at 1 second, a third of all is done
    one.close()
    assert stream.getvalue().splitlines() == [
        "base seed 0 0/10  loss 3.0000",
        "wide seed 0 10/10  loss 2.5000  all 2.0s left",
    ]


def test_shares_are_of_one_size_and_their_own(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {9, 3, 5, 7, 8})
    assert [each.cores for each in shares(2)] == [(3, 5), (7, 8)]
    for workers, said in ((0, "--workers 0: give 1 or more"), (6, "use 5 cores")):
        with pytest.raises(UserError, match=said):
            shares(workers)
    gpus = [SimpleNamespace(platform="gpu", device_kind="H100") for _ in range(4)]
    monkeypatch.setattr(sharing, "all_devices", lambda: gpus)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6,7,2")
    two = shares(2)
    assert [s.variables["CUDA_VISIBLE_DEVICES"] for s in two] == ["4,6", "7,2"]
    assert [s.devices for s in two] == [2, 2]
    with pytest.raises(UserError, match="use 4 GPUs"):
        shares(5)
    monkeypatch.setattr(
        sharing,
        "all_devices",
        lambda: [SimpleNamespace(platform="tpu", device_kind="v5e")],
    )
    with pytest.raises(UserError, match="here is a v5e"):
        shares(1)


def numbers(run):
    """Of each step, all that doesn't depend on the time it took."""
    timed = ("tokens_per_second", "data_wait", "seconds")
    rows = read_metrics(run / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k not in timed} for row in rows]


@pytest.mark.slow
def test_killed_and_taken_up_again_side_by_side_equals_one_after_another():
    """The parent is killed in the middle; its processes save, and are no more."""
    text = Path("tiny.py").read_text().replace("2 steps", "600 steps")
    Path("tiny.py").write_text(text)
    command = [sys.executable, "-m", "lm_jax", "sweep", "tiny.py", "--workers", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    runs = [Path("runs/tiny", name, "seed0") for name in ("base", "wide")]
    while not all(map(trains, runs)):
        assert process.poll() is None
        time.sleep(0.05)
    workers = [int((run / ".lock").read_text().split()[1]) for run in runs]
    process.kill()
    process.wait()
    until = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < until
        time.sleep(0.05)
    saved = [int(p.name) for run in runs for p in (run / "checkpoints").glob("[0-9]*")]
    assert len(saved) == 2 and all(0 < step < 600 for step in saved)
    assert main(["sweep", "tiny.py", "--workers", "2"]) == 0
    assert main(["sweep", "tiny.py", "--out", "runs/alone"]) == 0
    for name in ("base/seed0", "base/seed1", "wide/seed0", "wide/seed1"):
        assert numbers(Path("runs/tiny", name)) == numbers(Path("runs/alone", name))
    (start, again) = read_starts(runs[0])
    assert start["cores"] == again["cores"] == len(os.sched_getaffinity(0)) // 2
    assert start["command"].endswith("lm_jax sweep tiny.py --workers 2")


def trains(run):
    path = run / "metrics.jsonl"
    return path.exists() and len(path.read_text().splitlines()) > 20
