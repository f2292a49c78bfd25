"""From an experiment to all that a run needs, checked before any compiling."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax
from jax.sharding import Mesh

from lm_jax.data import Order, Prepared
from lm_jax.data.prepared import check_varied
from lm_jax.durations import Units
from lm_jax.errors import UserError
from lm_jax.experiment import Experiment
from lm_jax.models.stack import unstack_blocks
from lm_jax.optimizers import transformation
from lm_jax.platform import devices as all_devices
from lm_jax.runs.base import read_base
from lm_jax.runs.checkpoints import has_checkpoint
from lm_jax.schedules import Curve
from lm_jax.selectors import parted
from lm_jax.sharding import row_ways, state_shardings
from lm_jax.training.checks import (
    check_axes,
    check_devices,
    check_evaluations,
    check_rows,
    check_samples,
    check_targets,
    check_values,
)
from lm_jax.training.compatibility import (
    check_fit,
    check_model,
    check_objective,
    fill_in,
    fill_in_classes,
    lay_out,
)
from lm_jax.training.guides import find_guide
from lm_jax.training.initial import Start, find_start
from lm_jax.training.planned import cadences, known_scores, length_of
from lm_jax.training.resolved import Setup, first_state_of
from lm_jax.training.sizes import example_of, parameter_shapes, units_of
from lm_jax.training.trainable import (
    adapted,
    begins_of,
    frozen_of,
    left_of,
    say_untrained,
)

CACHE = Path(".lm_jax")


def set_up(
    experiment: Experiment,
    devices: Sequence[jax.Device] | None = None,
    cache: Path = CACHE,
    progress: Callable[[str, int, int], None] | None = None,
    fresh: bool = True,
    run: Path | None = None,
) -> Setup:
    """Prepare the data and resolve everything that it decides.

    Args:
        experiment: to be run.
        devices: to run it on; all, if None.
        cache: folder of tokens.
        progress: told (description, done, total).
        fresh: whether the first parameters are still needed: of a run that goes on,
            what it began with is not read again, but for what its checkpoints leave
            elsewhere.
        run: its directory, which may say where that is.

    Raises:
        UserError: for anything that the user can mend.
    """
    began = time.perf_counter()
    check_values(experiment)
    check_model(experiment.model)
    check_objective(experiment.objective)
    mesh = check_devices(experiment, list(devices or all_devices(several=True)))
    data = experiment.data.prepare(cache, progress)
    model = _model(experiment, data)
    order = _order(experiment, data, model, mesh)
    example = example_of(data)
    objective = experiment.objective
    params = parameter_shapes(model, objective, example)
    guided = find_guide(objective, data) if objective.guide else None
    planned = known_scores(experiment, data, model, params, example, guided)
    check_evaluations(experiment, planned)
    units = units_of(order, data, model, params)
    curve, total = length_of(experiment, units)
    every = cadences(experiment, units, total)
    unrolled = jax.eval_shape(unstack_blocks, params)
    start = _start(experiment, data, unrolled, model, fresh, run)
    key = jax.random.key(experiment.seed)
    params = jax.eval_shape(lambda p: adapted(experiment, p, key), params)
    update = _update(experiment, params, units, total)
    start = say_untrained(experiment, start, params)
    carried = order.shapes[-1].rows if data.lanes else 0
    state = experiment, carried, model, update.rule(curve)
    shapes = jax.eval_shape(lambda p: first_state_of(*state, p, update.frozen), params)
    setup = Setup(
        experiment=experiment,
        data=data,
        order=order,
        model=model,
        example=example,
        units=units,
        total=total,
        every=every,
        curve=curve,
        rule=update.rule,
        mesh=mesh,
        shapes=shapes,
        shardings=state_shardings(experiment.execution.sharding, mesh, shapes),
        start=start,
        frozen=update.frozen,
        begins=update.begins,
        planned=planned,
        guided=guided,
        left=() if run and _stands_alone(run) else left_of(experiment, start, params),
    )
    _check_attention(setup)
    return replace(setup, seconds=time.perf_counter() - began)


def _model(experiment: Experiment, data: Prepared) -> Any:
    """Complete the model by what the data knows, and see that both fit."""
    model = fill_in(experiment.model, data.vocab_size, data.context)
    model = fill_in_classes(model, len(data.labels))
    model = lay_out(model, experiment.execution.compute)
    check_fit(experiment, data, model)
    check_samples(experiment, data, not experiment.objective.generates)
    return model


def _order(experiment: Experiment, data: Prepared, model: Any, mesh: Mesh) -> Order:
    """Give the batches of training; each can be split over the devices, and teaches."""
    held = data.evaluation("validation", data.lanes or 1)
    check_varied(data)
    ways = row_ways(experiment.execution.sharding, mesh)
    ways *= experiment.execution.accumulate
    order = data.order(experiment.seed_of("order"), experiment.batch, ways)
    check_rows(order.shapes[-1].rows, experiment, mesh)
    check_axes(mesh, model, data, order)
    check_targets(experiment.objective, order, held)
    return order


class _Update(NamedTuple):
    """How parameters are trained: by which rule; which are not; when others begin."""

    rule: Callable[[Curve], optax.GradientTransformation]
    frozen: Any
    begins: Any


def _update(experiment: Experiment, params: Any, units: Units, total: int) -> _Update:
    """Say which parameters a step updates, and how."""
    frozen = frozen_of(experiment, params)
    begins = begins_of(experiment, params, units, total)
    if begins is not None:
        begins = parted(begins, frozen)[1]
    trained = parted(params, frozen)[1]

    def rule(curve: Curve) -> optax.GradientTransformation:
        return transformation(experiment.optimizer, curve, trained, begins, params)

    return _Update(rule, frozen, begins)


def _stands_alone(run: Path) -> bool:
    """Whether a run has checkpoints, and all of its parameters in them."""
    return has_checkpoint(run) and read_base(run) is None


def _start(
    experiment: Experiment,
    data: Prepared,
    params: Any,
    model: Any,
    fresh: bool,
    run: Path | None,
) -> Start | None:
    """Read what the parameters begin with, or stay: from a run's own base, if any."""
    initial = experiment.initial
    base = None if run is None else read_base(run)
    if initial is None or not (fresh or base):
        return None
    if run is None or base is None:
        return find_start(initial, data.tokenizer, params, model, data.labels)
    source = base.source(run, initial)
    start = find_start(source, data.tokenizer, params, model, data.labels)
    base.check(run, start.there)
    return start


def _check_attention(setup: Setup) -> None:
    """Refuse a form of attention that can't do what the model asks of it.

    Raises:
        UserError: saying what is in the way.
    """
    experiment = setup.experiment
    if experiment.execution.compute.attention in ("auto", "plain"):
        return
    batch = setup.placed_batch(setup.order.shapes[-1])
    constants = setup.constant_shapes()
    try:
        jax.eval_shape(setup.gradients(), setup.shapes, batch, constants)
    except ValueError as error:
        raise UserError(str(error)) from error
