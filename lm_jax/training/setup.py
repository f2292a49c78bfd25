"""From an experiment to all that a run needs, checked before any compiling."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from lm_jax.data import Order, Prepared, Shape
from lm_jax.data.order import batch_size
from lm_jax.data.prepared import check_varied
from lm_jax.durations import Units, parse_duration, steps
from lm_jax.errors import UserError
from lm_jax.evaluation import Sample
from lm_jax.experiment import AnyExperiment, Compute, Experiment
from lm_jax.models.model import lacking
from lm_jax.models.stack import initialise, laid_out, stack_blocks, unstack_blocks
from lm_jax.optimizers import transformation
from lm_jax.schedules import Curve
from lm_jax.selectors import parted, select
from lm_jax.sharding import batch_sharding, batch_ways, make_mesh, state_shardings
from lm_jax.training.fit import check_fit, check_model, check_objective
from lm_jax.training.initial import Start, find_start
from lm_jax.training.state import TrainState, first_state
from lm_jax.training.step import named_key

CACHE = Path(".lm_jax")


@dataclass(frozen=True)
class Setup:
    """An experiment with what its data and devices decide.

    Attributes:
        experiment: as it was asked for.
        data: tokens and tokenizer.
        order: the batches of training.
        model: with vocabulary and context filled in.
        example: a batch of one row of zeros, as the model will see them.
        units: what a step amounts to.
        total: steps of the budget.
        every: steps between evaluations, by their names.
        curve: learning rate of each step.
        transformation: optax's update rule.
        mesh: the devices.
        shapes: of the train state, nothing allocated.
        shardings: where each array of the state lies.
        start: what the first parameters begin with, if not with random values.
        frozen: true for each parameter that is not trained.
    """

    experiment: Experiment
    data: Prepared
    order: Order
    model: nn.Module
    example: dict[str, jax.Array]
    units: Units
    total: int
    every: dict[str, int]
    curve: Curve
    transformation: optax.GradientTransformation
    mesh: Mesh
    shapes: TrainState
    shardings: TrainState
    start: Start | None
    frozen: Any

    def first_state(self) -> TrainState:
        """The state before the first step, made where it will lie.

        Initial values depend on the seed and on each parameter's path and
        shape alone; the mesh and the data's order change none of them.
        """
        key = named_key(self.experiment.seed, "parameters")

        arrays = None if self.start is None else self.start.arrays

        def make(arrays):
            objective = self.experiment.objective
            params = initialise(self.model, key, self.example, method=objective.predict)
            if self.start is not None:
                params = _started(self.start, params, arrays)
            return _first_state(
                self.experiment,
                self.carried,
                self.model,
                self.transformation,
                params,
                self.frozen,
            )

        return jax.jit(make, out_shardings=self.shardings)(arrays)

    def placed_shapes(self) -> TrainState:
        """The shapes of the state, each with where it lies."""
        return _placed(self.shapes, self.shardings)

    def saved_shapes(self) -> TrainState:
        """The shapes of the state as checkpoints hold it: its layers unrolled."""
        shapes = jax.eval_shape(unstack_blocks, self.shapes)
        rules = self.experiment.execution.sharding
        return _placed(shapes, state_shardings(rules, self.mesh, shapes))

    def to_saved(self, state: TrainState) -> TrainState:
        """The state as checkpoints hold it; itself where nothing is scanned."""
        if not self.experiment.execution.compute.scan:
            return state
        shardings = jax.tree.map(lambda leaf: leaf.sharding, self.saved_shapes())
        return jax.jit(unstack_blocks, out_shardings=shardings)(state)

    def from_saved(self, state: TrainState) -> TrainState:
        """The state of a checkpoint as it is trained."""
        if not self.experiment.execution.compute.scan:
            return state
        return jax.jit(stack_blocks, out_shardings=self.shardings)(state)

    @property
    def rows(self) -> int:
        """Rows of a batch of the longest examples."""
        return self.order.shapes[-1].rows

    @property
    def carried(self) -> int:
        """Rows whose state goes on from batch to batch; 0 where none does."""
        return self.rows if self.data.lanes else 0

    def placed_batch(self, shape: Shape) -> dict[str, jax.ShapeDtypeStruct]:
        """The arrays of a batch of some shape, each with where it lies."""
        return {
            field.name: jax.ShapeDtypeStruct(
                (shape.rows, *field.sized(shape.length)),
                jax.dtypes.canonicalize_dtype(field.dtype),
                sharding=batch_sharding(self.mesh),
            )
            for field in self.data.training_fields
        }

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return _count(self.shapes.params)


def _placed(shapes: Any, shardings: Any) -> Any:
    return jax.tree.map(
        lambda shape, placed: jax.ShapeDtypeStruct(
            shape.shape, shape.dtype, sharding=placed
        ),
        shapes,
        shardings,
    )


def set_up(
    experiment: Experiment,
    devices: list[jax.Device] | None = None,
    cache: Path = CACHE,
    progress: Callable[[str, int, int], None] | None = None,
    fresh: bool = True,
) -> Setup:
    """Prepare the data and resolve everything that it decides.

    Args:
        experiment: to be run.
        devices: to run it on; all, if None.
        cache: folder of tokens.
        progress: told (description, done, total).
        fresh: whether the first parameters are still needed: of a run that goes on,
            what it began with is not read again.

    Raises:
        UserError: for anything that the user can mend.
    """
    _check(experiment)
    check_model(experiment.model)
    check_objective(experiment.objective)
    mesh = check_devices(experiment, devices or jax.devices())
    data = experiment.data.prepare(cache, progress)
    model = fill_in(experiment.model, data.vocab_size, data.context)
    model = fill_in_classes(model, len(data.labels))
    model = lay_out(model, experiment.execution.compute)
    check_fit(experiment, data, model)
    check_samples(experiment, data, not experiment.objective.generates)
    data.evaluation("validation", 1)
    check_varied(data)
    ways = batch_ways(mesh) * experiment.execution.accumulate
    order = data.order(experiment.seed, experiment.batch, ways)
    check_rows(order.shapes[-1].rows, experiment, mesh)
    example, predict = _example(data), experiment.objective.predict
    params = jax.eval_shape(
        lambda: initialise(model, jax.random.key(0), example, method=predict)
    )
    units = _units(order, data, model, params)
    curve, total = length_of(experiment, units)
    every = cadences(experiment, units, total)
    start = None
    if experiment.initial is not None and fresh:
        unrolled = jax.eval_shape(unstack_blocks, params)
        start = find_start(experiment.initial, data.tokenizer, unrolled)
    frozen = _frozen(experiment, params)
    carried = order.shapes[-1].rows if data.lanes else 0
    rule = transformation(experiment.optimizer, curve, parted(params, frozen)[1])
    shapes = jax.eval_shape(
        lambda p: _first_state(experiment, carried, model, rule, p, frozen), params
    )
    return Setup(
        experiment=experiment,
        data=data,
        order=order,
        model=model,
        example=example,
        units=units,
        total=total,
        every=every,
        curve=curve,
        transformation=rule,
        mesh=mesh,
        shapes=shapes,
        shardings=state_shardings(experiment.execution.sharding, mesh, shapes),
        start=start,
        frozen=frozen,
    )


def length_of(experiment: Experiment, units: Units) -> tuple[Curve, int]:
    """The learning rate of each step, and how many there are."""
    total = steps(experiment.budget, units)
    return experiment.schedule.curve(total, units), total


def _example(data: Prepared) -> dict[str, jax.Array]:
    """A batch of one row, all zeros, with the fields of the data."""
    return {
        field.name: jnp.zeros((1, *field.sized(data.context)), field.dtype)
        for field in data.training_fields
    }


def _units(order: Order, data: Prepared, model: Any, params: Any) -> Units:
    """What a step amounts to; six operations a parameter where the model says none."""
    flops = model.flops_per_token(data.context)
    flops = 6.0 * _count(params) if flops is None else flops
    return Units(
        tokens=order.tokens,
        steps_per_epoch=order.steps_per_epoch,
        flops=order.tokens * flops,
    )


def _count(params: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def _first_state(
    experiment: Experiment,
    carried: int,
    model: Any,
    rule: optax.GradientTransformation,
    params: Any,
    frozen: Any,
) -> TrainState:
    carry = model.empty_cache(carried, 0) if carried else None
    plain = experiment.average_after is not None
    trained = parted(params, frozen)[1]
    return first_state(params, rule, experiment.average > 0, plain, carry, trained)


def _frozen(experiment: Experiment, params: Any) -> Any:
    """True for each parameter that is not trained.

    Raises:
        UserError: an expression matches nothing, or nothing is left to train.
    """
    frozen = select(experiment.frozen, params, "frozen", strict=True)
    if all(jax.tree.leaves(frozen)):
        raise UserError("frozen leaves no parameter to train.")
    for expression, rate in experiment.optimizer.rates:
        if rate == 0.0:
            raise UserError(
                f"optimizer.rates: '{expression}' has a rate of 0. Say what is not "
                f"trained by frozen=(('{expression}', True), ('.*', False))."
            )
    return frozen


def _started(start: Start, params: Any, arrays: Any) -> Any:
    """Put what a run begins with into its first parameters, scanned or not."""
    placed = start.place(unstack_blocks(params), arrays)
    scanned = any(name.endswith("blocks") for name in params)
    return stack_blocks(placed) if scanned else placed


def fill_in(model: Any, vocab_size: int, context: int) -> nn.Module:
    """Give the model what only the data knows.

    Raises:
        UserError: when the model was given another vocabulary size.
    """
    if model.vocab_size not in (0, vocab_size):
        raise UserError(
            f"model.vocab_size is {model.vocab_size}, and the tokenizer has "
            f"{vocab_size} tokens. Leave it out: it is taken from the data."
        )
    if model.vocab_size < 2 and vocab_size < 2:
        raise UserError(
            f"The vocabulary has {vocab_size} token: there is nothing to predict. "
            "Use another tokenizer or a longer text."
        )
    try:
        return model.filled(vocab_size, context)
    except ValueError as error:
        raise UserError(str(error)) from error


def lay_out(model: Any, compute: Compute) -> nn.Module:
    """Lay a model's operations out as the execution asks.

    Raises:
        UserError: the model can't be laid out so.
    """
    try:
        return laid_out(model, compute.scan)
    except ValueError as error:
        raise UserError(str(error)) from error


def fill_in_classes(model: Any, classes: int) -> Any:
    """Give a model that tells classes apart the number that the data has.

    Raises:
        UserError: when the model was given another.
    """
    if not classes or lacking(model, {"with_classes": ()}):
        return model
    if model.classes not in (0, classes):
        raise UserError(
            f"model.classes is {model.classes}, and the data has {classes} labels. "
            "Leave it out: it is taken from the data."
        )
    return model.with_classes(classes)


def check_devices(experiment: Experiment, devices: list[jax.Device]) -> Mesh:
    """Arrange the devices as the experiment asks.

    Raises:
        UserError: they can't be, or the batch can't be divided among them.
    """
    mesh = make_mesh(experiment.execution.sharding, devices)
    size = batch_size(experiment.batch)
    if size.rows is not None:
        check_rows(size.rows, experiment, mesh)
    return mesh


def check_rows(rows: int, experiment: Experiment, mesh: Mesh) -> None:
    """Refuse a batch that can't be divided among the devices.

    Raises:
        UserError: with the nearest that can.
    """
    accumulate = experiment.execution.accumulate
    ways = batch_ways(mesh) * accumulate
    if rows % ways:
        below = rows // ways * ways
        near = " or ".join(str(n) for n in (below, below + ways) if n)
        raise UserError(
            f"A batch of {rows} rows can't be divided among "
            f"{batch_ways(mesh)} devices in {accumulate} parts. "
            f"The nearest that can: {near} (--batch)."
        )


def _check(experiment: Experiment) -> None:
    """Refuse what no data can mend, before the data is read."""
    if experiment.execution.accumulate < 1:
        raise UserError("execution.accumulate must be 1 or more.")
    batch_size(experiment.batch)
    if not 0 <= experiment.average < 1:
        raise UserError("average is a decay: from 0 (off) to less than 1.")
    after = experiment.average_after
    if after is not None and (after < 1 or experiment.average):
        raise UserError(
            "average_after must be 1 or more evaluations, and average 0 beside it: "
            "weights are averaged in one way."
        )
    if experiment.patience is not None and experiment.patience < 1:
        raise UserError("patience must be 1 or more, or None.")
    if experiment.execution.keep < 1:
        raise UserError("execution.keep must be 1 or more.")
    parse_duration(experiment.budget, "budget")
    for name, evaluation in experiment.evaluations.items():
        if evaluation.every is not None:
            parse_duration(evaluation.every, f"evaluations.{name}.every")
    if experiment.evaluations[experiment.watch].every is None:
        raise UserError(
            f"evaluations.{experiment.watch}.every is needed: the evaluation that is "
            'watched says how often, as in "250 steps" or "1 epoch".'
        )
    if getattr(experiment.model, "scan", False):
        raise UserError(
            "model.scan is part of the execution: leave it out and give "
            "execution=Execution(compute=Compute(scan=True)), or --scan True."
        )
    if not experiment.schedule.peak > 0:
        raise UserError("schedule.peak, the highest learning rate, must be positive.")


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


def cadences(experiment: Experiment, units: Units, total: int) -> dict[str, int]:
    """Steps between evaluations; those that don't say go with the watched one."""
    watched = experiment.evaluations[experiment.watch].every or ""
    return {
        name: max(1, min(total, steps(evaluation.every or watched, units)))
        for name, evaluation in experiment.evaluations.items()
    }
