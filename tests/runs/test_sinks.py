"""Outputs beside metrics.jsonl: the same numbers, and none twice."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from tensorboard.backend.event_processing import (
    event_accumulator,
    plugin_event_accumulator,
)
from tensorboard.summary.writer import event_file_writer
from tensorboard.util.tensor_util import make_ndarray

from lm_jax.errors import UserError
from lm_jax.runs import sinks as module
from lm_jax.runs.sinks import check_sinks, open_sinks

EXPERIMENT = {"model": {"layers": 4}}


@pytest.fixture(autouse=True)
def counted_anew(monkeypatch):
    """TensorBoard sorts files of one second and process by their number, as text."""
    counter = event_file_writer.AtomicCounter(0)
    monkeypatch.setattr(event_file_writer, "_global_uid", counter)


@pytest.fixture
def run(tmp_path) -> Path:
    path = tmp_path / "gpt" / "rope" / "seed7"
    path.mkdir(parents=True)
    return path


def scalars(run: Path, name: str) -> list[tuple[int, float]]:
    """What TensorBoard shows, which is what notebooks read as well."""
    shown = plugin_event_accumulator.EventAccumulator(str(run))
    shown.Reload()
    tensors = [
        (e.step, make_ndarray(e.tensor_proto).item()) for e in shown.Tensors(name)
    ]
    read = event_accumulator.EventAccumulator(str(run))
    read.Reload()
    assert [(e.step, e.value) for e in read.Scalars(name)] == tensors
    return tensors


def write_steps(run: Path, steps: range, after: int, value: float) -> None:
    (board,) = open_sinks(("tensorboard",), run, EXPERIMENT, step=after)
    for step in steps:
        board.write(step, {"loss": value, "count": step})
    board.close()


def test_tensorboard_reads_what_was_written(run):
    write_steps(run, range(1, 4), 0, 0.5)
    assert scalars(run, "loss") == [(1, 0.5), (2, 0.5), (3, 0.5)]
    assert scalars(run, "count") == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_tensorboard_shows_no_step_twice_after_going_on(run):
    write_steps(run, range(1, 6), 0, 1.0)
    write_steps(run, range(4, 7), 3, 2.0)
    assert scalars(run, "loss") == [
        (1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0), (5, 2.0), (6, 2.0),
    ]  # fmt: skip


def test_tensorboard_forgets_steps_that_are_not_reached_again_yet(run):
    write_steps(run, range(1, 6), 0, 1.0)
    write_steps(run, range(0), 3, 2.0)
    assert scalars(run, "loss") == [(1, 1.0), (2, 1.0), (3, 1.0)]


def test_tensorboard_survives_an_event_file_that_was_cut_short(run):
    write_steps(run, range(1, 6), 0, 1.0)
    (events,) = run.glob("events*")
    events.write_bytes(events.read_bytes()[:-5])
    write_steps(run, range(4, 6), 3, 2.0)
    assert scalars(run, "loss")[2:] == [(3, 1.0), (4, 2.0), (5, 2.0)]


def test_an_unknown_output_names_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'tensorboard'"):
        check_sinks(("tensorbord",))


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_what_is_not_installed_is_said_before_anything_is_written(
    run, monkeypatch, name
):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=f"LM_JAX_EXTRAS={name}"):
        open_sinks(("tensorboard", name), run, EXPERIMENT)
    assert list(run.iterdir()) == []


def test_a_folder_by_the_name_is_not_the_package(tmp_path, monkeypatch):
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with pytest.raises(UserError, match="not installed"):
        module._package("wandb")
    sys.modules.pop("wandb", None)


def test_wandb_gets_the_numbers_and_one_identity(run, monkeypatch):
    calls = []

    class Session:
        def log(self, metrics, step):
            calls.append((step, metrics))

        def finish(self):
            calls.append("finish")

    stub = ModuleType("wandb")
    stub.__version__ = "0"
    stub.init = lambda **named: calls.append(named) or Session()
    monkeypatch.setitem(sys.modules, "wandb", stub)
    for _ in range(2):
        (sink,) = open_sinks(("wandb",), run, EXPERIMENT)
        sink.write(5, {"loss": 1})
        sink.close()
    first, log, finish, second, *_ = calls
    assert first["project"] == "gpt"
    assert first["name"] == "rope/seed7"
    assert first["config"] == EXPERIMENT
    assert first["resume"] == "allow"
    assert first["id"] == second["id"]
    assert (log, finish) == ((5, {"loss": 1.0}), "finish")


def test_mlflow_gets_the_numbers_and_one_identity(run, monkeypatch):
    calls = []
    stub = ModuleType("mlflow")
    stub.__version__ = "0"
    stub.set_experiment = lambda name: calls.append(("experiment", name))
    stub.log_dict = lambda value, path: calls.append((path, value))
    stub.end_run = lambda: calls.append("end")
    stub.log_metrics = lambda metrics, step, synchronous: calls.append((step, metrics))

    def start_run(run_id, run_name):
        calls.append((run_id, run_name))
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id or "made"))

    stub.start_run = start_run
    monkeypatch.setitem(sys.modules, "mlflow", stub)
    for step in (5, 6):
        (sink,) = open_sinks(("mlflow",), run, EXPERIMENT)
        sink.write(step, {"loss": 1, "validation_ndcg@10": 0.5})
        sink.close()
    once = [
        ("experiment", "gpt"),
        (None, "rope/seed7"),
        ("experiment.json", EXPERIMENT),
    ]
    again = [("experiment", "gpt"), ("made", "rope/seed7")]
    assert calls == [
        *once,
        (5, {"loss": 1.0, "validation_ndcg_at_10": 0.5}),
        "end",
        *again,
        (6, {"loss": 1.0, "validation_ndcg_at_10": 0.5}),
        "end",
    ]


@pytest.mark.parametrize(
    ("run", "names"),
    [
        ("runs/gpt/rope/seed7", ("gpt", "rope/seed7")),
        ("/tmp/x/gpt/rope/seed11", ("gpt", "rope/seed11")),
        ("deeper", ("lm_jax", "deeper")),
        ("runs/deeper", ("lm_jax", "runs/deeper")),
        ("../seed0", ("lm_jax", "seed0")),
        ("rope/seed0", ("lm_jax", "rope/seed0")),
        ("/seed0", ("lm_jax", "seed0")),
        ("/rope/seed0", ("lm_jax", "rope/seed0")),
    ],
)
def test_a_project_is_named_after_the_experiment_and_never_the_working_directory(
    run, names, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert module._names(Path(run)) == names
