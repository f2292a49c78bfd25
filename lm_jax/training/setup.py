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
from lm_jax.experiment import Experiment
from lm_jax.models.model import lacking
from lm_jax.models.stack import initialise
from lm_jax.optimizers import transformation
from lm_jax.schedules import Curve
from lm_jax.sharding import batch_sharding, batch_ways, make_mesh, state_shardings
from lm_jax.training.fit import check_fit, check_model, check_objective
from lm_jax.training.initial import find_rows, placed
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
        every: steps between evaluations.
        curve: learning rate of each step.
        transformation: optax's update rule.
        mesh: the devices.
        shapes: of the train state, nothing allocated.
        shardings: where each array of the state lies.
        vectors: puts word vectors into the first parameters, if there are any.
    """

    experiment: Experiment
    data: Prepared
    order: Order
    model: nn.Module
    example: dict[str, jax.Array]
    units: Units
    total: int
    every: int
    curve: Curve
    transformation: optax.GradientTransformation
    mesh: Mesh
    shapes: TrainState
    shardings: TrainState
    vectors: Callable[[Any], Any] | None

    def first_state(self) -> TrainState:
        """The state before the first step, made where it will lie.

        Initial values depend on the seed and on each parameter's path and
        shape alone; the mesh and the data's order change none of them.
        """
        key = named_key(self.experiment.seed, "parameters")

        def make():
            objective = self.experiment.objective
            params = initialise(self.model, key, self.example, method=objective.predict)
            if self.vectors is not None:
                params = self.vectors(params)
            return _first_state(
                self.experiment, self.carried, self.model, self.transformation, params
            )

        return jax.jit(make, out_shardings=self.shardings)()

    def placed_shapes(self) -> TrainState:
        """The shapes of the state, each with where it lies."""
        return jax.tree.map(
            lambda shape, placed: jax.ShapeDtypeStruct(
                shape.shape, shape.dtype, sharding=placed
            ),
            self.shapes,
            self.shardings,
        )

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


def set_up(
    experiment: Experiment,
    devices: list[jax.Device] | None = None,
    cache: Path = CACHE,
    progress: Callable[[str, int, int], None] | None = None,
) -> Setup:
    """Prepare the data and resolve everything that it decides.

    Args:
        experiment: to be run.
        devices: to run it on; all, if None.
        cache: folder of tokens.
        progress: told (description, done, total).

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
    check_fit(experiment, data, model)
    _check_sample(experiment, data)
    data.evaluation("validation", 1)
    check_varied(data)
    ways = batch_ways(mesh) * experiment.accumulate
    order = data.order(experiment.seed, experiment.batch, ways)
    check_rows(order.shapes[-1].rows, experiment, mesh)
    example, predict = _example(data), experiment.objective.predict
    params = jax.eval_shape(
        lambda: initialise(model, jax.random.key(0), example, method=predict)
    )
    units = _units(order, data, model, params)
    total = steps(experiment.budget, units)
    every = max(1, min(total, steps(experiment.evaluate_every, units)))
    curve = experiment.schedule.curve(total, units)
    vectors, initial = None, experiment.initial
    if initial is not None:
        vectors = placed(initial, find_rows(initial, data.tokenizer, params))
    carried = order.shapes[-1].rows if data.lanes else 0
    rule = transformation(experiment.optimizer, curve, params)
    shapes = jax.eval_shape(
        lambda p: _first_state(experiment, carried, model, rule, p), params
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
        shardings=state_shardings(experiment.sharding, mesh, shapes),
        vectors=vectors,
    )


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
) -> TrainState:
    carry = model.empty_cache(carried, 0) if carried else None
    plain = experiment.average_after is not None
    return first_state(params, rule, experiment.average > 0, plain, carry)


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
    mesh = make_mesh(experiment.sharding, devices)
    size = batch_size(experiment.batch)
    if size.rows is not None:
        check_rows(size.rows, experiment, mesh)
    return mesh


def check_rows(rows: int, experiment: Experiment, mesh: Mesh) -> None:
    """Refuse a batch that can't be divided among the devices.

    Raises:
        UserError: with the nearest that can.
    """
    ways = batch_ways(mesh) * experiment.accumulate
    if rows % ways:
        below = rows // ways * ways
        near = " or ".join(str(n) for n in (below, below + ways) if n)
        raise UserError(
            f"A batch of {rows} rows can't be divided among "
            f"{batch_ways(mesh)} devices in {experiment.accumulate} parts. "
            f"The nearest that can: {near} (--batch)."
        )


def _check(experiment: Experiment) -> None:
    """Refuse what no data can mend, before the data is read."""
    if experiment.accumulate < 1:
        raise UserError("accumulate must be 1 or more.")
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
    if experiment.keep < 1:
        raise UserError("keep must be 1 or more.")
    for field in ("budget", "evaluate_every"):
        parse_duration(getattr(experiment, field), field)
    if not experiment.schedule.peak > 0:
        raise UserError("schedule.peak, the highest learning rate, must be positive.")


def _check_sample(experiment: Experiment, data: Prepared) -> None:
    """Refuse a prompt or a sampling now, not at the first evaluation."""
    wanted = experiment.sample
    if not experiment.objective.generates:
        return
    wanted.sampling.check(data.vocab_size)
    if wanted.length < 0:
        raise UserError("sample.length must be 0 (no sample) or more.")
    if wanted.length and not len(data.tokenizer.encode(wanted.prompt)):
        raise UserError(
            "sample.prompt is empty, and a model continues at least one token. "
            "A newline is a good beginning; sample.length 0 draws no sample."
        )
