"""What a command says, for other programs: one JSON object on standard output."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from lm_jax.runs.numbers import encoded


def print_json(values: dict[str, Any]) -> None:
    """Print one object on a line of its own.

    Numbers are whole, what is not finite is "nan", "inf" or "-inf", and what isn't
    known is null.

    Args:
        values: of names; paths and NumPy's numbers are made JSON's.
    """
    print(json.dumps(encoded(values), ensure_ascii=False, default=_plain))


def _plain(value: Any) -> Any:
    """A value that JSON has, for one that it lacks."""
    if isinstance(value, np.generic | np.ndarray):
        return encoded(value.tolist())
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is none of JSON's types.")
