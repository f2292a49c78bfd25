"""The jitted functions of a recipe: whatever its seed, they are compiled but once."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from lm_jax.averages import running
from lm_jax.compiler import compiled, options_of
from lm_jax.data import Shape
from lm_jax.distributed import several
from lm_jax.training.guards import CompileGuard
from lm_jax.training.memory import check_plan, temporary_if_large
from lm_jax.training.resolved import Setup
from lm_jax.training.rows import on_rows
from lm_jax.training.scoring import compile_evaluation, compile_told
from lm_jax.training.state import TrainState
from lm_jax.training.step import Constants, make_train_step


class Compiled:
    """The jitted functions of a recipe; nothing is compiled before it is needed.

    Args:
        setup: of a run. Runs that differ from it in their seed alone can share what
            was compiled for it; of runs that are computed together, those that differ
            in their schedule too.

    Attributes:
        step: of (state, batch, constants), as `Setup.constants` has these.
        rows: the same of states, batches and seeds that are stacked, where runs are
            computed together; else None.
        taken: of what a step gives: the state. It is one already, but for `Abreast`.
        evaluation: of (parameters, batch, carry), and those of
            `Setup.scoring_guide`, if there is one.
        seen: of parameters: those that the model is called with.
        told: of (parameters, batch), where the objective tells something of each
            example by itself; else None.
        first_state: of a seed, as a number; see `Setup.first_state`.
        programs: digests of the step, one for each shape of a batch, where several
            processes must have the same.
        large: bytes that a step needs for itself, where two steps at once would take
            too much of a CPU's memory; else 0.
    """

    step: Callable[[TrainState, dict, Constants], tuple[Any, dict[str, jax.Array]]]
    rows: jax.stages.Wrapped | None = None
    evaluation: jax.stages.Wrapped
    seen: Callable[[Any], Any]
    told: jax.stages.Wrapped | None
    first_state: Callable[[int], TrainState]

    def __init__(self, setup: Setup):
        sharding = setup.experiment.execution.sharding
        self._together = setup.experiment.execution.together
        kind = setup.mesh.devices.flat[0].device_kind
        more = setup.experiment.execution.compute.compiler
        options = options_of(kind, more) or None
        self.taken: Callable[[Any], TrainState] = _as_it_is
        if self._together == 1:
            self.step = self._program = jax.jit(
                setup.on_mesh(_step_of(setup)),
                donate_argnums=0,
                out_shardings=(setup.shardings, None),
                compiler_options=options,
            )
        else:
            step = jax.vmap(setup.on_mesh(_step_of(setup)), in_axes=_AXES)
            self.rows = self._program = jax.jit(
                step, donate_argnums=0, compiler_options=options
            )
            self.step = self._alone
        what = setup.model, setup.experiment.objective, sharding, setup.mesh
        guided = setup.guided if setup.experiment.objective.guided_scores else None
        self.evaluation = compile_evaluation(*what, guided and guided.model)
        self.told = compile_told(*what)
        self.seen = _as_it_is if setup.view is None else jax.jit(setup.view)
        self.first_state = setup.first_states()
        self._shapes = len(setup.order.shapes)
        self._planned = False
        self.programs: list[str] = []
        self.large = 0

    def guard(self) -> CompileGuard:
        """What sees, in a run, that nothing is compiled again."""
        functions: dict[str, Callable] = {
            "train_step": self._program,
            "evaluation_step": self.evaluation,
        }
        return CompileGuard(functions, {"train_step": self._shapes})

    def plan(self, setup: Setup) -> None:
        """Compile the step for every shape of a batch, before one is needed.

        A later call of a shape finds what was compiled here.

        Raises:
            UserError: a step needs more memory than there is.
        """
        if self._planned:
            return
        for shape in setup.order.shapes:
            lowered = self.traced(setup, shape).lower()
            if several():
                text = lowered.as_text().encode()
                self.programs.append(hashlib.sha256(text).hexdigest()[:12])
            analysis = compiled(lowered).memory_analysis()
            check_plan(setup, analysis)
            self.large = max(self.large, temporary_if_large(setup, analysis))
        self._planned = True

    def traced(self, setup: Setup, shape: Shape) -> jax.stages.Traced:
        """The step for batches of a shape, before it is compiled for a device."""
        constants = setup.constant_shapes()
        given = setup.placed_shapes(), setup.placed_batch(shape), constants
        if self._together > 1:
            several = jax.vmap(
                _all, in_axes=None, out_axes=_AXES, axis_size=self._together
            )
            given = jax.eval_shape(several, *given)
        return self._program.trace(*given)

    def _alone(self, *given: Any) -> tuple[TrainState, dict[str, jax.Array]]:
        """A step of one run, by the program that computes several: all are this one."""
        assert self.rows is not None
        return first_row(self.rows(*abreast([given] * self._together)))


def _all(*given: Any) -> tuple[Any, ...]:
    return given


# States and batches have an axis of runs, and so have seed and rates; a guide serves
# all.
_AXES = (0, 0, Constants(0, None, 0))


def abreast(given: Sequence[tuple[Any, dict, Constants]]) -> tuple[Any, ...]:
    """Put what a step is given of each run together, as `Compiled.rows` takes it."""
    states, batches, constants = zip(*given, strict=True)
    return stacked(states), stacked(batches), stacked_constants(constants)


def stacked_constants(constants: Sequence[Constants]) -> Constants:
    """Put what is each run's own above each other."""
    seeds, rates = stacked([(each.seed, each.rates) for each in constants])
    return constants[0]._replace(seed=seeds, rates=rates)


@jax.jit
def stacked(rows: Sequence[Any]) -> Any:
    """Put trees of arrays above each other, one a row."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)


@jax.jit
def first_row(rows: Any) -> Any:
    """The first of what `stacked` put above each other."""
    return jax.tree.map(lambda leaf: leaf[0], rows)


def _as_it_is(params: Any) -> Any:
    return params


def _step_of(setup: Setup) -> Callable:
    experiment = setup.experiment
    together, rows = experiment.execution.together > 1, _by_rows(setup)

    def step(state: TrainState, batch: dict, constants: Constants):
        curve = setup.curve if constants.rates is None else constants.rates.__getitem__

        def make(model: nn.Module) -> Callable:
            return make_train_step(
                model,
                experiment.objective,
                setup.rule(curve),
                curve,
                seed=constants.seed,
                accumulate=experiment.execution.accumulate,
                average=running(experiment.average),
                frozen=setup.frozen,
                begins=setup.begins,
                view=setup.view,
                # Of several states a condition computes both sides; and of a few rows
                # it costs more than it saves.
                products=experiment.optimizer.products or together or rows,
                skip=experiment.skip_bad_steps,
                guide=setup.guide(constants.guide),
            )

        if rows:
            names = experiment.objective.names
            return on_rows(make, setup.model, names)(state, batch)
        return make(setup.model)(state, batch)

    return setup.near(step)


def _by_rows(setup: Setup) -> bool:
    """Whether a step over the rows that a batch names is one over the whole tables."""
    others = (running(setup.experiment.average), setup.begins, setup.view)
    plain = all(each is None for each in others)
    whole = plain and not any(jax.tree.leaves(setup.frozen)) and setup.mesh.size == 1
    return whole and setup.model.tables and setup.experiment.optimizer.still
