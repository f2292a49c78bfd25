"""Runs of adapters over one base become one run that stands alone."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import unflatten_dict

from lm_jax.errors import UserError
from lm_jax.files import given_path, near
from lm_jax.folders import check_new
from lm_jax.runs.base import BASE, Base, read_base, read_source
from lm_jax.runs.learnt import by_path, renamed
from lm_jax.runs.model import NeuralModel, load_model
from lm_jax.runs.quantizing import write_alone
from lm_jax.tokenizers.saved import digest

Arrays = dict[str, Any]


def merge_runs(
    runs: Sequence[Path],
    path: Path | str,
    weights: Sequence[float] = (),
    step: int | None = None,
) -> NeuralModel:
    """Write a run that has a base's parameters with what adapters add, and no base.

    What it has is base + sum of weight_i (merged_i - base): of one run with a weight of
    1, its own merged parameters (Hu et al. 2021, 4.1); of several, task arithmetic
    (Ilharco et al. 2023, section 2). It reads texts as the first of the runs does.

    Args:
        runs: directories, each of adapters over the same base.
        path: a new directory.
        weights: one a run; if none is given, all add up to one.
        step: of the checkpoints; None takes the best ones.

    Returns:
        The model that was written.

    Raises:
        UserError: a run can't be read or stands alone already, bases, tokens or labels
            differ, or a parameter has no value in the base to add to; a directory is
            there. Nothing is written then.
    """
    path = given_path(path, "--run")
    check_new(path, "--run")
    weights = tuple(weights) or (1 / len(runs),) * len(runs)
    if len(weights) != len(runs):
        raise UserError(f"--weights: {len(weights)} of them, and {len(runs)} runs.")
    with np.errstate(over="ignore"):
        finite = np.isfinite(np.asarray(weights, np.float32)).all()
    if not finite:
        told = " ".join(f"{weight:g}" for weight in weights)
        raise UserError(f"--weights {told}: give finite numbers.")
    models: list[Any] = [load_model(run, step) for run in runs]
    bases = [_base_of(run) for run in runs]
    first = models[0]
    if weights == (1.0,):
        params = first.params
    else:
        _check_alike(runs, bases, models)
        there = read_source(runs[0], bases[0], first.experiment.initial)
        new = [e for model in models for e in model.experiment.initial.new]
        base = {
            path: array
            for path, array in renamed(first.experiment.initial, there)
            if not any(re.search(expression, path) for expression in new)
        }
        params = _added(base, [by_path(model.params) for model in models], weights)
    write_alone(runs[0], path, params, first.step)
    return load_model(path)  # type: ignore[return-value]


def _base_of(run: Path) -> Base:
    base = read_base(run)
    if base is None:
        raise UserError(
            f"{near(run)} has no {BASE}: it stands alone already, with all of its "
            "parameters in its checkpoints."
        )
    return base


def _check_alike(
    runs: Sequence[Path], bases: list[Base], models: list[NeuralModel]
) -> None:
    """See that runs stand on one base, and mean the same by tokens and labels.

    Raises:
        UserError: naming what differs.
    """
    for run, base, model in zip(runs, bases, models, strict=True):
        pairs = {
            "a base with other parameters": (base.parameters, bases[0].parameters),
            "another tokenizer": (digest(model.tokenizer), digest(models[0].tokenizer)),
            "other labels": (model.labels, models[0].labels),
        }
        for what, (here, there) in pairs.items():
            if here != there:
                raise UserError(f"{near(run)} has {what} than {near(runs[0])}.")


def _added(base: Arrays, models: list[Arrays], weights: Sequence[float]) -> Any:
    """Add to a base what each model has become beside it, by its weight.

    Raises:
        UserError: a parameter of the models isn't in the base.
    """
    found = {}
    for path in models[0]:
        shapes = {np.shape(model.get(path)) for model in models}
        if path not in base or shapes != {base[path].shape}:
            raise UserError(
                f"'{path}' is not in the base as the runs have it: it began anew, and "
                "there is nothing to add to. Merge one run, without --weights."
            )
        found[path] = base[path] + sum(
            np.float32(weight) * (np.asarray(model[path]) - base[path])
            for model, weight in zip(models, weights, strict=True)
        )
    return unflatten_dict(found, sep="/")
