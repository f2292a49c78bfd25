"""A run becomes one whose weights have few bits."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lm_jax.adapting import Integers, is_quantized, quantize
from lm_jax.errors import UserError
from lm_jax.experiment.names import COPY
from lm_jax.files import given_path, near
from lm_jax.folders import check_new, whole_folder
from lm_jax.runs.checkpoints import Checkpoints
from lm_jax.runs.guide import GUIDE
from lm_jax.runs.model import MODEL, TOKENIZER, NeuralModel, load_model

# What a run is read and scored by, beside its parameters.
_KEPT = (
    *("experiment.json", COPY, "data.json", "environment.json"),
    *(MODEL, TOKENIZER, GUIDE),
)


@dataclass(frozen=True)
class Lighter:
    """What became of a run.

    Attributes:
        run: its own directory.
        step: that its parameters are of.
        before: bytes of the arrays in the run that they come from.
        after: bytes of their files in its own.
    """

    run: Path
    step: int
    before: int
    after: int


def lighter_name(run: Path, to: Integers) -> Path:
    """Where a quantized run lies unless told otherwise.

    Beside the run, or beside the folder of its seeds, which hold one run a seed.
    """
    run = Path(os.path.abspath(run))  # "." has no name
    if re.fullmatch(r"seed\d+", run.name):
        return near(run.parent.with_name(f"{run.parent.name}_{to}") / run.name)
    return near(run.with_name(f"{run.name}_{to}"))


def quantize_run(
    run: Path, path: Path | str = "", to: Integers = "int8", step: int | None = None
) -> Lighter:
    """Write a run whose matrices are small integers; see `quantize`.

    It is read as the run is, and has one checkpoint: the parameters to use, without
    what training needs.

    Args:
        run: its directory.
        path: a new directory; `lighter_name`, if not given.
        to: the type of the integers.
        step: of the checkpoint; None takes the best one.

    Raises:
        UserError: the run can't be read, has no matrices, or is quantized already; a
            directory is there. Nothing is written then.
    """
    path = given_path(path, "The directory") if path else lighter_name(run, to)
    check_new(path, "The directory")
    loaded = load_model(run, step)
    if not isinstance(loaded, NeuralModel):
        raise UserError(f"{run} was fitted by counting: it has no weights to quantize.")
    if is_quantized(loaded.params):
        raise UserError(
            f"{run} is quantized already: quantize the run that it was made of."
        )
    params, step = quantize(loaded.params, to), loaded.step
    if not is_quantized(params):
        raise UserError(f"{run} has no matrix to quantize.")
    write_alone(run, path, params, step)
    before = sum(leaf.nbytes for leaf in jax.tree.leaves(loaded.params))
    return Lighter(path, step, before, Checkpoints(path / "checkpoints").size(step))


def write_alone(run: Path, path: Path, params: Any, step: int) -> None:
    """Write a run of parameters alone, read as the one that they come from.

    Args:
        run: that they come from, and what else there is.
        path: a new directory.
        params: to use.
        step: that they are of.

    Raises:
        UserError: it can't be written; nothing is left of it.
    """
    with whole_folder(path) as folder:
        for name in _KEPT:
            if (run / name).exists():
                shutil.copyfile(run / name, folder / name)
        checkpoints = Checkpoints(folder / "checkpoints")
        rest, progress = {"step": np.int32(step)}, {"best": step}
        checkpoints.save(step, {"params": params}, rest, progress, step)
        checkpoints.close()
