"""Experiments from files: what "FILE.py:VARIANT" names."""

import importlib.util
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_jax.errors import UserError, nearest
from lm_jax.experiment.value import AnyExperiment
from lm_jax.files import given_path


@dataclass(frozen=True)
class Named:
    """An experiment, and the names that its run directory is made of."""

    experiment: AnyExperiment
    name: str
    variant: str


def load(address: str) -> Named:
    """Load "FILE.py" or "FILE.py:VARIANT".

    A relative file is looked for in the working directory and then beside the
    package, so that ``experiments/...`` works from anywhere.

    Raises:
        UserError: when the file, the experiment or the variant isn't there.
    """
    file, _, variant = address.partition(":")
    path = _find(file)
    module = import_file(path)
    experiment = getattr(module, "experiment", None)
    if not isinstance(experiment, AnyExperiment):
        raise UserError(
            f"{path} doesn't define 'experiment = Experiment(...)'. "
            "See experiments/gpt_shakespeare.py."
        )
    variants = getattr(module, "variants", {})
    if not variant:
        return Named(experiment, path.stem, "base")
    if variant not in variants:
        raise UserError(
            f"{path} has no variant '{variant}'." + nearest(variant, variants)
            if variants
            else f"{path} has no variants."
        )
    return Named(variants[variant], path.stem, variant)


def _find(file: str) -> Path:
    beside = Path(__file__).parents[2] / file
    for path in (given_path(file, "The experiment file"), beside):
        if path.is_file():
            return path
    names = [str(p) for p in Path("experiments").glob("*.py")]
    names += [f"experiments/{p.name}" for p in beside.parent.glob("*.py")]
    hint = nearest(file, set(names)) if names else ""
    raise UserError(f"There is no experiment file '{file}'.{hint}")


def import_file(path: Path) -> Any:
    """Import an experiment file, under a name that leads back to it."""
    name = f"experiment_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f.lineno for f in frames if f.filename == str(path.resolve())]
        line = getattr(error, "lineno", None) or (own[-1] if own else "?")
        raise UserError(
            f"{path}, line {line}: {type(error).__name__}: {error}"
        ) from error
    return module
