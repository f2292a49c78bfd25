"""What an experiment is refused for before anything is compiled, its fit apart."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from lm_jax.bounds import problems_within
from lm_jax.data import Prepared
from lm_jax.data.order import Order, batch_size
from lm_jax.data.windows import Row, Windows
from lm_jax.durations import parse_duration
from lm_jax.errors import UserError
from lm_jax.evaluation import Sample
from lm_jax.evaluation.fitted import Planned
from lm_jax.experiment import AnyExperiment, Compute, Execution, Experiment
from lm_jax.kernels.attention_forms import form_problem
from lm_jax.kernels.placement import HOST
from lm_jax.mesh import make_mesh
from lm_jax.objectives import ObjectiveBase
from lm_jax.sharding import ACTIVATIONS, batch_ways, check_divides, row_ways


def check_numbers(experiment: AnyExperiment) -> None:
    """Refuse numbers outside their interval, wherever in an experiment they stand.

    A model and an objective are looked at when what the data knows is filled in.

    Raises:
        UserError: naming the field, and what it may be.
    """
    for field in dataclasses.fields(experiment):
        if field.name not in ("model", "objective"):
            held = getattr(experiment, field.name)
            for problem in problems_within(held, field.name):
                raise UserError(problem)


def check_values(experiment: Experiment) -> None:
    """Refuse what no data can mend, before the data is read.

    Raises:
        UserError: naming the field, and what it may be.
    """
    check_numbers(experiment)
    batch_size(experiment.batch)
    parse_duration(experiment.budget, "budget")
    for name, evaluation in experiment.evaluations.items():
        if evaluation.every is not None:
            field = f"evaluations.{name}.every"
            parse_duration(evaluation.every, field, positive=True)
    if experiment.evaluations[experiment.watch].every is None:
        raise UserError(
            f"evaluations.{experiment.watch}.every is needed: the evaluation that is "
            'watched says how often, as in "250 steps" or "1 epoch".'
        )
    for name, value in vars(Compute()).items():
        field = {"attention": "attention_form"}.get(name, name)
        held = getattr(experiment.model, field, value)
        if held != value:
            raise UserError(
                f"model.{field} is part of the execution: leave it out and give "
                f"execution=Execution(compute=Compute({name}={held!r})), or "
                f"--{name} {held}."
            )


def check_devices(experiment: Experiment, devices: list[jax.Device]) -> Mesh:
    """Arrange the devices as the experiment asks.

    Raises:
        UserError: they can't be, or the batch can't be divided among them, or into
            parts.
    """
    asked = experiment.execution.compute.attention
    if problem := form_problem(asked, devices[0].platform):
        raise UserError(problem)
    memories = [memory.kind for memory in devices[0].addressable_memories()]
    check_host(experiment.execution, devices[0].platform, memories)
    meet = experiment.objective.across_rows
    if meet and experiment.execution.accumulate > 1:
        raise UserError(
            f"objective.{meet} lets rows of a batch meet, and --accumulate "
            f"{experiment.execution.accumulate} computes it in parts: other rows would "
            "meet. Use --accumulate 1, with a smaller batch where memory is short."
        )
    mesh = make_mesh(experiment.execution.sharding, devices)
    if (together := experiment.execution.together) > 1 and mesh.size > 1:
        raise UserError(
            f"execution.together={together} computes runs at once on one device, and "
            f"this one uses {mesh.size}. Leave it out; `sweep --workers` gives each "
            "run devices of its own."
        )
    check_microbatches(experiment.execution.sharding.microbatches, mesh)
    size = batch_size(experiment.batch)
    if size.rows is not None:
        check_rows(size.rows, experiment, mesh)
    return mesh


def check_host(execution: Execution, platform: str, memories: list[str]) -> None:
    """Refuse to keep in a host's memory what jax can't keep there.

    Args:
        execution: that may ask for it.
        platform: of the devices.
        memories: that they have, as jax names them; it knows none of GPUs that aren't
            here.

    Raises:
        UserError: naming the field.
    """
    compute, sharding = execution.compute, execution.sharding
    asked = {
        "compute.remat='offload'": compute.remat == "offload",
        "sharding.optimizer_memory='host'": sharding.optimizer_memory == "host",
    }
    field = next((name for name, wanted in asked.items() if wanted), None)
    if field is None:
        return
    if HOST not in memories:
        where = "" if memories else " that aren't here"
        raise UserError(
            f"execution.{field} keeps arrays in the host's memory, and jax knows no "
            f"such memory ({HOST}) of {platform} devices{where}. Leave it out."
        )
    if sharding.optimizer_memory == "host" and execution.together > 1:
        raise UserError(
            f"execution.{field} is of one run, and execution.together="
            f"{execution.together} computes several at once. Leave one of them out."
        )


def check_microbatches(parts: int | None, mesh: Mesh) -> None:
    """Refuse microbatches that can't go round over the stages of a mesh.

    Raises:
        UserError: with the nearest numbers that can.
    """
    stages = mesh.shape["stage"]
    if parts is not None and stages == 1:
        raise UserError(
            f"sharding.microbatches={parts} go through the stages of a mesh, and this "
            "one has a single one. Leave it out, or give --stage."
        )
    if parts and parts % stages:
        below = parts // stages * stages
        near = " or ".join(str(n) for n in (below, below + stages) if n)
        raise UserError(
            f"sharding.microbatches={parts} is no multiple of sharding.stage={stages}. "
            f"The nearest that are: {near}."
        )


def check_rows(rows: int, experiment: Experiment, mesh: Mesh) -> None:
    """Refuse a batch that can't be divided among the devices.

    Raises:
        UserError: with the nearest that can.
    """
    sharding, accumulate = (
        experiment.execution.sharding,
        experiment.execution.accumulate,
    )
    ways = row_ways(sharding, mesh) * accumulate
    if rows % ways:
        parts = sharding.microbatches
        micro = f", each of {parts} microbatches" if parts else ""
        below = rows // ways * ways
        near = " or ".join(str(n) for n in (below, below + ways) if n)
        raise UserError(
            f"A batch of {rows} rows can't be divided among {batch_ways(mesh)} devices "
            f"in {accumulate} parts{micro}. "
            f"The nearest that can: {near} (--batch)."
        )


# Fields of an example whose first axis are the tokens that a model reads.
TEXTS = ("inputs", "source", "decoder_inputs", "query_inputs", "sentences")


def check_axes(mesh: Mesh, model: Any, data: Prepared, order: Order) -> None:
    """Refuse axes of the mesh that don't divide what they split of this model and data.

    Raises:
        UserError: naming it, and the nearest sizes.
    """
    kind, parts = type(model).__name__, list(model.axis_sizes())
    if (ways := mesh.shape["expert"]) > 1 and "experts" not in {p[0] for p in parts}:
        raise UserError(
            f"sharding.expert={ways} splits the experts of a mixture, and {kind} has "
            "none. Leave it out, or give --model.feedforward MoE."
        )
    if (ways := mesh.shape["stage"]) > 1 and "layers" not in {p[0] for p in parts}:
        raise UserError(
            f"sharding.stage={ways} splits the layers of a scan over devices, and "
            f"{kind} has none here. Give --scan True, where a model loops over equal "
            "blocks, or leave it out: --fsdp splits the batch."
        )
    if (ways := mesh.shape["sequence"]) > 1 and model.sequential:
        raise UserError(
            f"sharding.sequence={ways} splits the tokens of a text over devices, and "
            f"{kind} reads them one after the other. Leave it out: --fsdp splits "
            "the batch."
        )
    for axis, field, size in parts:
        for name in ACTIVATIONS[axis]:
            array = f"model.{field}={size}"
            check_divides(mesh, name, size, array, f"or give another model.{field}")
    for shape in order.shapes:
        for each in data.training_fields:
            if each.name in TEXTS:
                sizes = shape.rows, *each.sized(shape.length)
                _check_length(mesh, each.name, sizes)


def _check_length(mesh: Mesh, name: str, sizes: tuple[int, ...]) -> None:
    """Refuse a length that the devices of a sequence can't divide."""
    ways, length = mesh.shape["sequence"], sizes[1]
    below = length // ways * ways
    near = " or ".join(str(n) for n in (below, below + ways) if n)
    array = f"the {length} tokens of '{name}' {sizes}"
    check_divides(mesh, "sequence", length, array, f"or give texts of {near} tokens")


def check_targets(objective: ObjectiveBase, order: Order, held: Windows) -> None:
    """Refuse splits of which no target counts, where the examples tell.

    Rows are looked at up to the first with a target that does.

    Args:
        objective: that says which field tells.
        order: of training: an epoch at most.
        held: the validation split, in batches of as many rows as it has lanes.

    Raises:
        UserError: naming the split, and why there is none.
    """
    rows: dict[str, Iterator[Row]] = {
        "train": _epoch(order),
        "validation": map(held.row, range(held.count)),
    }
    name = objective.weighs
    for split, found in rows.items():
        if not any(name not in row or np.any(row[name]) for row in found):
            raise objective.nothing_to_predict(split)


def _epoch(order: Order) -> Iterator[Row]:
    for step in range(math.ceil(order.steps_per_epoch)):
        for r in range(order.shape(step).rows):
            yield order.row(step, r)


def check_evaluations(experiment: AnyExperiment, planned: Planned) -> None:
    """Refuse an evaluation that can't be made now, not when it is due.

    Raises:
        UserError: naming it, and why.
    """
    for name, evaluation in experiment.evaluations.items():
        # Most can always be made.
        found: Any = getattr(evaluation, "unfit", lambda planned: ())
        for problem in found(planned):
            raise UserError(f"evaluations.{name}: {problem}")


def check_samples(
    experiment: AnyExperiment, data: Prepared, silent: bool, empty: bool = False
) -> None:
    """Refuse prompts and samplings now, not at the first evaluation.

    Args:
        experiment: whose evaluations are looked at.
        data: its tokenizer.
        silent: whether the model writes no text, so that nothing is sampled.
        empty: whether the model continues no token too.
    """
    for name, evaluation in experiment.evaluations.items():
        if isinstance(evaluation, Sample) and not silent:
            evaluation.check(data.tokenizer, name, empty)
