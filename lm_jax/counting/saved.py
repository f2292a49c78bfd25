"""A fitted model in one .npz file, or what is wrong with the file of one."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from lm_jax.errors import UserError
from lm_jax.files import atomic_write

_WRONG = (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile)


def save_arrays(path: Path, about: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Write arrays, and what JSON can say about them, whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    file = io.BytesIO()
    np.savez(file, about=np.array(json.dumps(about)), **arrays)
    atomic_write(path, file.getvalue())


def load_arrays(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read what `save_arrays` wrote; to be called inside `loading`."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    return json.loads(str(arrays.pop("about"))), arrays


@contextmanager
def loading(path: Path, what: str) -> Iterator[None]:
    """Say in one message what is wrong with a fitted model that is read inside.

    Raises:
        UserError: there is no such file, or it holds none of ``what``.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"There is no {error.filename}.") from error
    except _WRONG as error:
        raise UserError(
            f"{path} is damaged, or no {what}: {error}. Move it away and fit the model "
            "again."
        ) from error
