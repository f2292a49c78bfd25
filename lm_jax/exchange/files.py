"""The arrays of a checkpoint: safetensors, in one file or several."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32
from safetensors import SafetensorError, safe_open

from lm_jax.errors import UserError
from lm_jax.files import near

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
FLOATS = ("F64", "F32", "F16", "BF16")


class Stored(NamedTuple):
    """An array that lies in a file.

    Attributes:
        file: where.
        name: there.
        shape: of it.
        kind: its type, as the file names it.
    """

    file: Path
    name: str
    shape: tuple[int, ...]
    kind: str = "F32"

    def read(self) -> Float32[np.ndarray, "..."]:
        """Read it in float32."""
        with safe_open(self.file, "np") as file:
            return file.get_tensor(self.name).astype(np.float32)


def read_json(path: Path) -> dict[str, Any]:
    """Read an object of JSON.

    Raises:
        UserError: it isn't there, or is none.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"There is no {near(path)}.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{near(path)} can't be read: {error}.") from error
    if not isinstance(found, dict):
        raise UserError(f"{near(path)} is no object of JSON.")
    return found


def stored_arrays(folder: Path) -> dict[str, Stored]:
    """Find the arrays of a folder, by name; none is read yet.

    Raises:
        UserError: there are none, or they are pickles; a file is damaged or missing.
    """
    if (folder / WHOLE).exists():
        return _in_file(folder / WHOLE)
    if (folder / INDEX).exists():
        return _in_parts(folder)
    pickles = [path.name for kind in _PICKLES for path in sorted(folder.glob(kind))]
    if pickles:
        raise UserError(
            f"{near(folder)} has its parameters in {pickles[0]}, a pickle: reading one "
            "executes whatever its author put there, so none is read. Where you trust "
            "it, AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW) of "
            f"transformers writes {WHOLE}."
        )
    raise UserError(f"{near(folder)} has no {WHOLE} and no {INDEX}.")


def _in_parts(folder: Path) -> dict[str, Stored]:
    """The arrays of several files, as their index has them."""
    index: Mapping[str, str] = read_json(folder / INDEX).get("weight_map", {})
    found: dict[str, Stored] = {}
    for name in sorted(set(index.values())):
        if Path(name).name != name or not (folder / name).exists():
            raise UserError(f"{near(folder / INDEX)} names {name}, which isn't there.")
        found |= _in_file(folder / name)
    wrong = set(index) ^ set(found)
    if wrong or not found:
        said = ", ".join(sorted(wrong)[:3]) or "nothing"
        raise UserError(
            f"{near(folder / INDEX)} and its files don't have the same arrays: {said}."
        )
    return found


def _in_file(path: Path) -> dict[str, Stored]:
    try:
        with safe_open(path, "np") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            kinds = {name: part.get_dtype() for name, part in parts.items()}
            shapes = {name: tuple(part.get_shape()) for name, part in parts.items()}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{near(path)} can't be read: {error}.") from error
    return {k: Stored(path, k, shape, kinds[k]) for k, shape in shapes.items()}
