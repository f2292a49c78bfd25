"""An experiment as JSON, which names its kinds of value, and rebuilt from it."""

import dataclasses
import importlib
import json
import sys
from pathlib import Path
from typing import Any

from lm_jax.errors import UserError
from lm_jax.experiment.comparing import fields
from lm_jax.experiment.loading import import_file
from lm_jax.experiment.value import AnyExperiment


def to_json(value: Any) -> Any:
    """Turn a value into what ``json`` can write; each dataclass keeps its type."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = type(value)
        module = kind.__module__
        if module.startswith("experiment_"):
            module = str(sys.modules[module].__file__)
        body = {name: to_json(getattr(value, name)) for name in fields(value)}
        return {"type": f"{module}:{kind.__qualname__}"} | body
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    return value


def from_json(document: Any) -> Any:
    """Rebuild the value that `to_json` wrote.

    Raises:
        UserError: when a type or a field is no longer there.
    """
    if isinstance(document, list):
        return tuple(from_json(item) for item in document)
    if not isinstance(document, dict):
        return document
    module, _, name = document["type"].rpartition(":")
    try:
        source = (
            import_file(Path(module))
            if module.endswith(".py")
            else importlib.import_module(module)
        )
        kind = getattr(source, name)
        body = {k: from_json(v) for k, v in document.items() if k != "type"}
        return kind(**body)
    except (ImportError, AttributeError, TypeError, OSError) as error:
        raise UserError(
            f"The experiment was written with '{document['type']}', which this "
            f"version can't rebuild: {error}."
        ) from error


def save(experiment: AnyExperiment) -> str:
    """The experiment as the text of experiment.json."""
    return json.dumps(to_json(experiment), indent=2, ensure_ascii=False) + "\n"
