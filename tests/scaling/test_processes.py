"""Real processes: the curve of one, and an end to whatever goes wrong."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from lm_jax.runs.checkpoints import Checkpoints, steps_of
from lm_jax.runs.metrics import read_metrics
from lm_jax.runs.result import read_result
from lm_jax.scaling.launching import local_places, words_of
from lm_jax.scaling.place import Place
from tests.tiny import write_tiny

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
PATIENCE = 600  # seconds that anything may take on a busy machine
CONSTANT = ["--schedule", "Constant", "--schedule.peak", "0.01"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    write_tiny(folder)
    return folder


def variables(devices):
    flags = re.sub(r"--xla_force\S+", "", os.environ["XLA_FLAGS"])
    return os.environ | {
        "XLA_FLAGS": flags,
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
    }


def started(folder, *words, devices=2, code=None, log=subprocess.PIPE):
    """A command in a process of its own; of two, each has one of two devices."""
    begin = ["-m", "lm_jax"] if code is None else ["-c", code]
    return subprocess.Popen(
        [sys.executable, *begin, *words],
        cwd=folder,
        env=variables(devices),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        text=True,
    )


def train(folder, run, *words, **how):
    return started(folder, "train", "tiny.py", "--run", run, *words, **how)


def ended(process):
    """The status of a process and all that it said."""
    try:
        said, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    return process.returncode, said


def two_started(folder, run, *words, other=(), code=None):
    """Two processes, each by its own command, as on two machines."""
    places = local_places(Place(2, timeout=300.0))
    command = ["train", "tiny.py", "--run", run, *words]
    return [
        started(folder, *words_of(place, [*command, *extra]), devices=1, code=code)
        for place, extra in zip(places, ((), other), strict=True)
    ]


def two_ranks(*words, **how):
    """Both of them: (status, what it said) of each."""
    return [ended(process) for process in two_started(*words, **how)]


def made(run):
    """All numbers of a run that must come out the same, to the bit."""
    timed = ("tokens_per_second", "data_wait", "seconds", "batch", "parameters")
    return [
        {name: value for name, value in row.items() if name not in timed}
        for row in read_metrics(run / "metrics.jsonl")
        if set(row) - {"step", *timed}
    ]


def wait_for(condition, process):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.2)


def steps_made(run):
    path = run / "metrics.jsonl"
    return path.read_text().count('"grad_norm"') if path.exists() else 0


def pid_of(run, process=1):
    return int(re.findall(r"\(pid\s(\d+)\)", (run / "process_1.log").read_text())[-1])


@pytest.fixture(scope="module")
def one(folder):
    """A run of one process with two devices."""
    status, said = ended(train(folder, "one", *CONSTANT))
    assert status == 0, said
    return folder / "one"


def parameters(run):
    return Checkpoints(run / "checkpoints").restore_params(12)


def test_two_processes_make_the_run_of_one(folder, one):
    """Equal to the bit: a sum over two devices has one order, wherever they are."""
    status, said = ended(train(folder, "two", *CONSTANT, "--processes", "2"))
    assert status == 0, said
    two = folder / "two"
    assert made(two) == made(one)
    assert len(made(one)) == 12 + 3
    samples = [(run / "samples.txt").read_bytes() for run in (one, two)]
    assert samples[0] == samples[1]
    jax.tree.map(np.testing.assert_array_equal, parameters(one), parameters(two))
    # One has written: nothing is there twice, and only a log is there besides.
    names = [{p.name for p in run.iterdir()} for run in (one, two)]
    events = {n for each in names for n in each if n.startswith("events.")}
    assert names[1] - names[0] - events == {"process_1.log"}
    assert "process 1 of 2" in (two / "process_1.log").read_text()


def test_four_one_and_two_processes_with_parts_of_the_parameters_each(folder, one):
    """4 steps by four on a mesh of both axes, 4 by one, 4 by two on another.

    They begin with what another run has learnt, and learn from it.
    """
    run = folder / "parts"
    taught = ["--from", "one", "--objective", "Distil", "--objective.teacher", "one"]
    average = ["--average", "LastCheckpoints", "--average.count", "3"]
    words = [*CONSTANT, *average, *taught]
    assert ended(train(folder, "whole", *words, devices=4))[0] == 0
    for budget, mesh in (
        ("4", ["--processes", "4", "--fsdp", "2", "--tensor", "2"]),
        ("8", ["--processes", "1"]),
        ("12", ["--processes", "2", "--fsdp", "4", "--profile", "10:11"]),
    ):
        budget = ["--budget", f"{budget} steps"]
        status, said = ended(train(folder, "parts", *words, *budget, *mesh, devices=4))
        assert status == 0, said
    rows, whole = made(run), made(folder / "whole")
    assert [sorted(row) for row in rows] == [sorted(row) for row in whole]
    for row, same in zip(rows, whole, strict=True):
        assert row == pytest.approx(same, rel=1e-4)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
        parameters(run),
        parameters(folder / "whole"),
    )
    assert (run / "samples.txt").read_text().count("--- step") == 3
    result = read_result(run)
    assert result["starts"] == 3 and 0 < result["goodput"] < 1
    assert (run / "profile" / "steps_10_to_11").exists()


def test_sigterm_to_one_saves_on_all_and_a_killed_one_ends_the_others(folder):
    run = folder / "signals"
    words = [*CONSTANT, "--budget", "100000 steps", "--processes", "2"]
    process = train(folder, "signals", *words, "--timeout", "300")
    wait_for(lambda: steps_made(run) > 5, process)
    os.kill(pid_of(run), signal.SIGTERM)
    status, said = ended(process)
    assert status == 0, said
    step = int(re.search(r"Stopped and saved at step (\d+)", said)[1])
    assert f"saved at step {step}" in (run / "process_1.log").read_text()
    assert steps_of(run)[-1] == step == made(run)[-1]["step"]

    process = train(folder, "signals", *words, "--timeout", "300")
    wait_for(lambda: steps_made(run) > step + 5, process)
    os.kill(pid_of(run), signal.SIGKILL)
    since = time.monotonic()
    status, said = ended(process)
    assert status != 0 and time.monotonic() - since < 100
    words = " ".join(said.split())
    assert "Process 1 ended first" in words and "signal 9" in words


@pytest.mark.parametrize("dead", [1, 0])
def test_one_that_is_killed_ends_the_other_which_names_it(folder, dead):
    """Nobody watches over both, as a launcher would; the first is the coordinator."""
    name = f"killed_{dead}"
    words = [*CONSTANT, "--budget", "100000 steps"]
    ranks = two_started(folder, name, *words)
    wait_for(lambda: steps_made(folder / name) > 5, ranks[0])
    ranks[dead].kill()
    since = time.monotonic()
    status, said = ended(ranks[1 - dead])
    seconds = time.monotonic() - since
    print(f"process {1 - dead} ended {seconds:.1f} s after process {dead}")
    assert status != 0 and f"process {dead} is gone" in said, said
    assert seconds < 60  # and jax looks every 100


def test_one_that_was_started_otherwise_is_named(folder):
    ends = two_ranks(folder, "otherwise", other=["--optimizer.b1", "0.8"])
    for status, said in ends:
        assert status == 2
        words = " ".join(said.split())
        assert "Process 1 differs from process 0 in optimizer.b1: 0.8" in words
    assert not (folder / "otherwise" / "experiment.json").exists()


SLEEPS = """
import sys, threading, time
from lm_jax.__main__ import command
from lm_jax.training import loop, watchdog
feed, now = loop._feed, watchdog.Watchdog.now
def hasty(self, doing):  # what is compiled before may take longer
    if doing.startswith("step"):
        self._seconds = 10.0
    now(self, doing)
watchdog.Watchdog.now = hasty
def sleepy(setup, first):
    for item in feed(setup, first):
        if item[0] == 3 and "1" in sys.argv[sys.argv.index("--process") + 1]:
            threading.Event().wait()
        yield item
loop._feed = sleepy
command()
"""


def test_one_that_sleeps_for_ever_ends_all_with_their_stacks(folder):
    ends = two_ranks(folder, "sleepy", *CONSTANT, code=SLEEPS)
    for process, (status, said) in enumerate(ends):
        assert status != 0
        assert f"Process {process} is stuck: step" in said, said
        assert "most recent call first" in said
    assert "in sleepy" in ends[1][1]
    assert "process 1: step 2" in ends[0][1]


PARTS = """
import sys, jax
from lm_jax.__main__ import command
from lm_jax.training import loop
save = loop._save
def parted(inside, state, done, *more):
    if done == 8 and "1" in sys.argv[sys.argv.index("--process") + 1]:
        def otherwise(array):  # in what this process holds alone
            held = [shard.data + 1e-3 for shard in array.addressable_shards]
            make = jax.make_array_from_single_device_arrays
            return make(array.shape, array.sharding, held)
        state = state.replace(params=jax.tree.map(otherwise, state.params))
    save(inside, state, done, *more)
loop._save = parted
command()
"""


def test_one_whose_parameters_part_is_named_and_what_was_saved_stays(folder):
    ends = two_ranks(folder, "parted", *CONSTANT, code=PARTS)
    for status, said in ends:
        assert status == 2, said
        words = " ".join(said.split())
        assert (
            "aren't alike (after step 8). Process 1 differs from process 0 in" in words
        )
        assert "the parameters, part" in words and "start them again" in words
    assert steps_of(folder / "parted")[-1] == 4


LATE = """
import sys, threading
from lm_jax.__main__ import command
from lm_jax.commands import train
if "1" in sys.argv[sys.argv.index("--process") + 1]:
    train.resolve = lambda *_: threading.Event().wait()
command()
"""


def test_one_that_never_comes_to_the_first_meeting_is_named(folder):
    places = local_places(Place(2, timeout=40.0))
    command = ["train", "tiny.py", "--run", "late"]
    first, late = (
        started(folder, *words_of(place, command), devices=1, code=LATE)
        for place in places
    )
    try:
        status, said = ended(first)
    finally:
        late.kill()
    words = " ".join(said.split())
    assert status == 1 and "Traceback" not in said and "is stuck" not in said
    assert "for all to meet: what they begin with. Missing: process 1" in words


def test_a_batch_that_the_processes_cannot_share_is_refused(folder):
    status, said = ended(train(folder, "uneven", "--processes", "3", devices=3))
    assert status == 2
    words = " ".join(said.split())
    assert "A batch of 8 rows can't be divided among 3 devices" in words
    assert "Traceback" not in said


def test_a_dry_run_prints_what_would_run_and_runs_nothing(folder):
    words = ["--processes", "2", "--dry-run", "--seed", "3"]
    status, said = ended(train(folder, "dry", *words))
    assert status == 0
    made, first, second, last = said.splitlines()
    assert made == "mkdir -p dry"
    assert "JAX_NUM_CPU_DEVICES=1" in first and "--process 0 --coordinator" in first
    assert "--seed 3 --processes 2 --process 1 " in second
    assert second.endswith("> dry/process_1.log 2>&1 &") and last == "wait"
    assert not (folder / "dry").exists()
