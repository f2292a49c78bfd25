"""A run directory belongs to one experiment."""

import json
from pathlib import Path

from lm_jax.errors import UserError
from lm_jax.experiment import AnyExperiment, differences, from_json, save
from lm_jax.files import atomic_write


def claim(experiment: AnyExperiment, run: Path) -> None:
    """Write experiment.json, or see that the one there is the same.

    Raises:
        UserError: with the differences, when it isn't.
    """
    path = run / "experiment.json"
    if not path.exists():
        atomic_write(path, save(experiment))
        return
    there = read_experiment(run)
    changed = differences(there, experiment)
    if changed:
        lines = "\n".join(f"  {name}: {a} there, {b} now" for name, a, b in changed)
        raise UserError(
            f"{run} holds another experiment:\n{lines}\n"
            "Train this one elsewhere with --run DIRECTORY."
        )


def read_experiment(run: Path) -> AnyExperiment:
    """The experiment of a run.

    Raises:
        UserError: when it can't be read.
    """
    path = run / "experiment.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read: {error}.") from error
    return from_json(document)
