"""A run directory belongs to one experiment and one text."""

import json
from pathlib import Path

from lm_jax.data import Prepared
from lm_jax.errors import UserError
from lm_jax.experiment import AnyExperiment, differences, from_json, save
from lm_jax.files import atomic_write


def claim(experiment: AnyExperiment, data: Prepared, run: Path) -> None:
    """Write experiment.json and data.json, or see that those there are the same.

    Raises:
        UserError: with the differences, when they aren't.
    """
    path = run / "experiment.json"
    if path.exists():
        _check_experiment(experiment, run)
        check_data(data, run)
    else:
        atomic_write(path, save(experiment))
    if not (run / "data.json").exists():
        about = {"digest": data.digest, "statement": data.statement.split("\n")}
        text = json.dumps(about, indent=2, ensure_ascii=False)
        atomic_write(run / "data.json", text + "\n")


def _check_experiment(experiment: AnyExperiment, run: Path) -> None:
    there = read_experiment(run)
    changed = differences(there, experiment)
    if changed:
        lines = "\n".join(f"  {name}: {a} there, {b} now" for name, a, b in changed)
        raise UserError(
            f"{run} holds another experiment:\n{lines}\n"
            "Train this one elsewhere with --run DIRECTORY."
        )


def check_data(data: Prepared, run: Path) -> None:
    """See that the text and its tokens are those that a run began with.

    Raises:
        UserError: with what they were, when they aren't.
    """
    path = run / "data.json"
    if not path.exists():
        return
    about = _read(path)
    if about.get("digest") != data.digest:
        lines = "\n".join(f"  {line}" for line in about.get("statement", []))
        raise UserError(
            f"{run} began with another text than there is now, or one that was split "
            f"otherwise. It was:\n{lines}\n"
            "Put it back as it was, or train on the new one with --run DIRECTORY."
        )


def read_experiment(run: Path) -> AnyExperiment:
    """The experiment of a run.

    Raises:
        UserError: when it can't be read.
    """
    return from_json(_read(run / "experiment.json"))


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read: {error}.") from error
