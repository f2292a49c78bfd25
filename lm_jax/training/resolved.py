"""What an experiment, its data and its devices decide together."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from lm_jax.averages import running
from lm_jax.data import Order, Prepared, Shape
from lm_jax.durations import Units
from lm_jax.evaluation.fitted import Planned
from lm_jax.experiment import Experiment
from lm_jax.models.stack import initialise, stack_blocks, unrolled, unstack_blocks
from lm_jax.objectives import Guide
from lm_jax.schedules import Curve
from lm_jax.selectors import parted
from lm_jax.sharding import (
    batch_sharding,
    fetched,
    on_mesh,
    state_shardings,
    whole_to,
)
from lm_jax.training.drawing import Draws
from lm_jax.training.guides import Guided
from lm_jax.training.initial import Start
from lm_jax.training.sizes import count
from lm_jax.training.state import TrainState, first_state
from lm_jax.training.step import (
    Constants,
    View,
    make_gradients,
    named_key,
)
from lm_jax.training.trainable import adapted


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
        rule: makes optax's update rule for a curve.
        mesh: the devices.
        shapes: of the train state, nothing allocated.
        shardings: where each array of the state lies.
        start: what the first parameters begin with, if not with random values.
        frozen: true for each parameter that is not trained.
        begins: the step at which the training of each begins; None where all begin
            with the first.
        planned: what is known of its scores.
        guided: the run that the objective reads beside the model, if it does.
        left: paths of the parameters that checkpoints leave with the run or folder
            that they come from.
        seconds: that it took to find all this out.
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
    rule: Callable[[Curve], optax.GradientTransformation]
    mesh: Mesh
    shapes: TrainState
    shardings: TrainState
    start: Start | None
    frozen: Any
    begins: Any
    planned: Planned
    guided: Guided | None = None
    left: tuple[str, ...] = ()
    seconds: float = 0.0

    @functools.cached_property
    def transformation(self) -> optax.GradientTransformation:
        """The update rule of the run's own curve."""
        return self.rule(self.curve)

    def on_mesh(self, step: Callable) -> Callable:
        """Trace a step for these devices."""
        return on_mesh(step, self.experiment.execution.sharding, self.mesh)

    def near(self, change: Callable) -> Callable:
        """Let a function of a state, and more, have all of it on the devices."""
        if self.experiment.execution.sharding.optimizer_memory == "device":
            return change

        def changed(state: TrainState, *more: Any) -> Any:
            return change(state.replace(opt_state=fetched(state.opt_state)), *more)

        return changed

    def first_state(self) -> TrainState:
        """The state before the first step, made where it will lie.

        Initial values depend on the seed and on each parameter's path and
        shape alone; the mesh and the data's order change none of them.
        """
        return self.first_states()(self.experiment.seed_of("initial"))

    def first_states(self) -> Callable[[int], TrainState]:
        """Give the first state of any seed; see `first_state`.

        What makes them is traced for the first, and is there for the others.
        """
        arrays = None if self.start is None else self.start.arrays
        predict, model = self.experiment.objective.predict, unrolled(self.model)

        def make(key):
            params = initialise(model, key, self.example, method=predict)
            return adapted(self.experiment, params, key)

        def begin(params, arrays):
            if self.start is not None:
                params = self.start.place(params, arrays)
            if model is not self.model:
                params = stack_blocks(params)
            return first_state_of(
                self.experiment,
                self.carried,
                self.model,
                self.transformation,
                params,
                self.frozen,
            )

        placed = jax.tree.map(lambda leaf: leaf.sharding, self.saved_shapes().params)
        draws = Draws(make, placed)
        begin_from = jax.jit(begin, out_shardings=self.shardings)

        def first(seed: int) -> TrainState:
            return begin_from(draws(named_key(seed, "parameters")), arrays)

        return first

    def placed_shapes(self) -> TrainState:
        """The shapes of the state, each with where it lies."""
        return _placed(self.shapes, self.shardings)

    @property
    def left_arrays(self) -> dict[str, Any]:
        """The parameters that checkpoints leave elsewhere, by their paths."""
        return {path: self.start.arrays[path] for path in self.left if self.start}

    @functools.cached_property
    def base_digest(self) -> int | None:
        """Names the parameters of which some are left elsewhere; None where none is."""
        there = self.start.there if self.start and self.left else None
        return None if there is None else there.digest()

    def saved_shapes(self) -> TrainState:
        """The shapes of the state that checkpoints are of: its layers unrolled."""
        shapes = jax.eval_shape(unstack_blocks, self.shapes)
        rules = self.experiment.execution.sharding
        return _placed(shapes, state_shardings(rules, self.mesh, shapes))

    def to_saved(self, state: TrainState) -> TrainState:
        """The state as checkpoints hold it; itself where nothing is scanned."""
        if not self.experiment.execution.compute.scan:
            return state
        shardings = jax.tree.map(lambda leaf: leaf.sharding, self.saved_shapes())
        return jax.jit(self.near(unstack_blocks), out_shardings=shardings)(state)

    def from_saved(self, state: TrainState) -> TrainState:
        """The state of a checkpoint as it is trained."""
        if not self.experiment.execution.compute.scan:
            return state
        return jax.jit(self.near(stack_blocks), out_shardings=self.shardings)(state)

    def weights_from_saved(self, params: Any) -> Any:
        """Parameters of a checkpoint as they are trained."""
        if not self.experiment.execution.compute.scan:
            return params
        return jax.jit(stack_blocks, out_shardings=self.shardings.params)(params)

    def constants(self) -> Constants:
        """What steps are given beside state and batch, on every device."""
        seed, rates = jax.device_put(self._own(), self.shardings.step)
        return Constants(seed, self.guide_params, rates)

    def constant_shapes(self) -> Constants:
        """The shapes of `constants`, each with where it lies."""
        own = jax.eval_shape(self._own)
        seed, rates = _placed(own, jax.tree.map(lambda _: self.shardings.step, own))
        if self.guided is None:
            return Constants(seed, None, rates)
        guide = _placed(self.guided.params, self._guide_shardings)
        return Constants(seed, guide, rates)

    def _own(self) -> tuple[np.uint32, jax.Array | None]:
        """The seed of dropout; and the rates, where a program serves many schedules."""
        seed = np.uint32(self.experiment.seed_of("dropout"))
        if self.experiment.execution.together == 1:
            return seed, None
        rates = jax.vmap(self.curve)(jnp.arange(self.total))
        return seed, rates.astype(jnp.float32)

    @functools.cached_property
    def guide_params(self) -> Any:
        """The parameters of the run that the objective reads, where steps read them."""
        if self.guided is None:
            return None
        return whole_to(self.guided.params, self._guide_shardings)

    @property
    def _guide_shardings(self) -> Any:
        assert self.guided is not None
        rules = self.experiment.execution.sharding
        both = {"params": self.shapes.params, "guide": self.guided.params}
        return state_shardings(rules, self.mesh, both)["guide"]

    def guide(self, params: Any) -> Guide | None:
        """The model that the objective reads, with its parameters inside a step."""
        return None if self.guided is None else Guide(self.guided.model, params)

    @property
    def scoring_guide(self) -> Guide | None:
        """The model that scores are made with too, where they are."""
        scores = self.experiment.objective.guided_scores
        return self.guide(self.guide_params) if scores else None

    def gradients(self) -> Callable:
        """Give ``gradients(state, batch, constants)``; see `make_gradients`."""
        experiment = self.experiment

        def gradients(state: TrainState, batch: dict, constants: Constants) -> Any:
            return make_gradients(
                self.model,
                experiment.objective,
                seed=constants.seed,
                accumulate=experiment.execution.accumulate,
                frozen=self.frozen,
                view=self.view,
                guide=self.guide(constants.guide),
            )(state, batch)

        return self.on_mesh(gradients)

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
    def view(self) -> View | None:
        """Of the parameters, that the model is called with; None changes none."""
        adapter = self.experiment.adapter
        return None if adapter is None else adapter.seen

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return count(self.shapes.params)

    @property
    def trained(self) -> int:
        """Number of those that are trained."""
        return count(parted(self.shapes.params, self.frozen)[1])


def _placed(shapes: Any, shardings: Any) -> Any:
    return jax.tree.map(
        lambda shape, placed: jax.ShapeDtypeStruct(
            shape.shape, shape.dtype, sharding=placed
        ),
        shapes,
        shardings,
    )


def first_state_of(
    experiment: Experiment,
    carried: int,
    model: Any,
    rule: optax.GradientTransformation,
    params: Any,
    frozen: Any,
) -> TrainState:
    """Give the state before the first step, of parameters that are there."""
    carry = model.empty_cache(carried, 0) if carried else None
    trained = parted(params, frozen)[1]
    average, skips = running(experiment.average), experiment.skip_bad_steps > 0
    return first_state(params, rule, average, carry, trained, skips)
