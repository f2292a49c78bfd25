"""Outputs beside metrics.jsonl: TensorBoard, Weights & Biases, MLflow.

They are copies for other programs to show. Nothing is read back from them.
"""

import importlib
import re
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Protocol, runtime_checkable

from lm_jax.errors import UserError, nearest
from lm_jax.files import atomic_write, writing
from lm_jax.platform import from_extra


@runtime_checkable
class Sink(Protocol):
    """Takes the numbers of a step."""

    def write(self, step: int, metrics: dict) -> None:
        """Take the numbers of a step, by name."""

    def close(self) -> None:
        """Send what is left."""


def open_sinks(
    names: tuple[str, ...], run: Path, experiment: dict, step: int = 0
) -> list[Sink]:
    """Open outputs by name: "tensorboard", "wandb", "mlflow".

    Args:
        run: the directory of the run, `<experiment>/<variant>/seed<k>`.
        experiment: the resolved experiment, as in experiment.json.
        step: the step after which the run goes on; 0 where it starts.

    Raises:
        UserError: for an unknown name, and for one whose package is not
            installed. All are looked at before the first is opened.
    """
    check_sinks(names)
    return [_SINKS[name](run, experiment, step) for name in names]


def check_sinks(names: tuple[str, ...]) -> None:
    """See that the outputs can be opened, before anything else is done.

    Raises:
        UserError: as `open_sinks`.
    """
    for name in names:
        if name not in _SINKS:
            raise UserError(f"There is no output '{name}'.{nearest(name, _SINKS)}")
        _package(name)


def _package(name: str) -> ModuleType:
    """The package of an output, or how to get it."""
    try:
        module = importlib.import_module(name)
    except ImportError:
        module = None
    # Weights & Biases makes a folder `wandb` where it runs, and Python takes
    # any folder for an empty package. A real one has a version.
    if module is None or not hasattr(module, "__version__"):
        raise UserError(
            f"The output '{name}' needs a package that is not installed: "
            f"{from_extra(name)}"
        )
    return module


class TensorBoard:
    """Scalars in an event file inside the run directory.

    A run that goes on gets a further event file. It begins with the mark that
    makes TensorBoard forget what the older files say of later steps.
    """

    def __init__(self, run: Path, experiment: dict, step: int):
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._run, self._event = run, Event
        with writing(run):
            self._file = EventFileWriter(str(run))
            # TensorBoard forgets from the step of the mark on, that included.
            start = SessionLog(status=SessionLog.START)
            mark = Event(wall_time=time.time(), step=step + 1, session_log=start)
            self._file.add_event(mark)

    def write(self, step: int, metrics: dict) -> None:
        """Append one event with all numbers of a step.

        Raises:
            UserError: if the disk is full.
        """
        event = self._event(wall_time=time.time(), step=step)
        for name, value in _floats(metrics).items():
            event.summary.value.add(tag=name, simple_value=value)
        with writing(self._run):
            self._file.add_event(event)

    def close(self) -> None:
        """Write what is queued and close the event file."""
        with writing(self._run):
            self._file.close()


class WeightsAndBiases:
    """A run of Weights & Biases, the same one whenever the run goes on.

    Steps that it has seen already are ignored there; a run that goes on says
    the same again for them.
    """

    def __init__(self, run: Path, experiment: dict, step: int):
        wandb = _package("wandb")
        project, name = _names(run)
        known = _recall(run / "wandb_id")
        identity = known or uuid.uuid4().hex
        if not known:
            atomic_write(run / "wandb_id", identity + "\n")
        self._session = wandb.init(
            project=project,
            name=name,
            id=identity,
            resume="allow",
            dir=str(run),
            config=experiment,
        )

    def write(self, step: int, metrics: dict) -> None:
        """Log the numbers of a step."""
        self._session.log(_floats(metrics), step=step)

    def close(self) -> None:
        """Upload what is left."""
        self._session.finish()


class MLflow:
    """A run of MLflow, the same one whenever the run goes on.

    `MLFLOW_TRACKING_URI` says where it is kept, as always with MLflow.
    """

    def __init__(self, run: Path, experiment: dict, step: int):
        self._mlflow = _package("mlflow")
        project, name = _names(run)
        self._mlflow.set_experiment(project)
        known = _recall(run / "mlflow_id")
        session = self._mlflow.start_run(run_id=known, run_name=name)
        if not known:
            atomic_write(run / "mlflow_id", session.info.run_id + "\n")
            self._mlflow.log_dict(experiment, "experiment.json")

    def write(self, step: int, metrics: dict) -> None:
        """Log the numbers of a step, without waiting for the server."""
        named = {_plain(name): value for name, value in _floats(metrics).items()}
        self._mlflow.log_metrics(named, step=step, synchronous=False)

    def close(self) -> None:
        """End the run there."""
        self._mlflow.end_run()


_SINKS: dict[str, Callable[[Path, dict, int], Sink]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}


def _names(run: Path) -> tuple[str, str]:
    """Project and name: `gpt` and `base/seed0` of `runs/gpt/base/seed0`.

    A run that lies elsewhere (`--run deeper`) is of no experiment's project; where
    lm_jax works has nothing to do with it.
    """
    parts = run.parts[-3:]
    if len(parts) == 3 and re.fullmatch(r"seed\d+", parts[2]) and parts[0] != "/":
        return parts[0], "/".join(parts[1:])
    return "lm_jax", "/".join(part for part in parts if part not in ("/", "..", "."))


def _plain(name: str) -> str:
    """A name that MLflow takes: "ndcg_at_10" of "ndcg@10", which it refuses."""
    return re.sub(r"[^/\w.\- ]", "_", name.replace("@", "_at_"))


def _floats(metrics: dict) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}


def _recall(path: Path) -> str | None:
    return path.read_text("utf-8").strip() if path.exists() else None
