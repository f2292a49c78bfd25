"""The jitted functions of a recipe: whatever its seed, they are compiled but once."""

from collections.abc import Callable
from typing import Any

import jax

from lm_jax.averages import running
from lm_jax.training.guards import CompileGuard
from lm_jax.training.memory import check_plan, temporary_if_large
from lm_jax.training.scoring import compile_evaluation, compile_told
from lm_jax.training.setup import Setup
from lm_jax.training.state import TrainState
from lm_jax.training.step import make_train_step


class Compiled:
    """The jitted functions of a recipe; nothing is compiled before it is needed.

    Args:
        setup: of a run. Runs that differ from it in their seed alone can share what
            was compiled for it.

    Attributes:
        step: of (state, batch, seed), the seed as `Setup.placed_seed` has it.
        evaluation: of (parameters, batch, carry).
        seen: of parameters: those that the model is called with.
        told: of (parameters, batch), where the objective tells something of each
            example by itself; else None.
        first_state: of a seed, as a number; see `Setup.first_state`.
        large: bytes that a step needs for itself, where two steps at once would take
            too much of a CPU's memory; else 0.
    """

    step: jax.stages.Wrapped
    evaluation: jax.stages.Wrapped
    seen: Callable[[Any], Any]
    told: jax.stages.Wrapped | None
    first_state: Callable[[int], TrainState]

    def __init__(self, setup: Setup):
        sharding = setup.experiment.execution.sharding
        self.step = jax.jit(
            setup.on_mesh(_step_of(setup)),
            donate_argnums=0,
            out_shardings=(setup.shardings, None),
        )
        what = setup.model, setup.experiment.objective, sharding, setup.mesh
        self.evaluation = compile_evaluation(*what)
        self.told = compile_told(*what)
        self.seen = _as_it_is if setup.view is None else jax.jit(setup.view)
        self.first_state = setup.first_states()
        self._shapes = len(setup.order.shapes)
        self._planned = False
        self.large = 0

    def guard(self) -> CompileGuard:
        """What sees, in a run, that nothing is compiled again."""
        functions: dict[str, Callable] = {
            "train_step": self.step,
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
        state, seed = setup.placed_shapes(), setup.placed_seed()
        for shape in setup.order.shapes:
            step = self.step.lower(state, setup.placed_batch(shape), seed).compile()
            analysis = step.memory_analysis()
            check_plan(setup, analysis)
            self.large = max(self.large, temporary_if_large(setup, analysis))
        self._planned = True


def _as_it_is(params: Any) -> Any:
    return params


def _step_of(setup: Setup) -> Callable:
    experiment = setup.experiment

    def step(state: TrainState, batch: dict, seed: jax.Array):
        # The seed is an argument: a constant would make every seed compile anew.
        return make_train_step(
            setup.model,
            experiment.objective,
            setup.transformation,
            setup.curve,
            seed=seed,
            accumulate=experiment.execution.accumulate,
            average=running(experiment.average),
            frozen=setup.frozen,
            begins=setup.begins,
            view=setup.view,
            products=experiment.optimizer.products,
            skip=experiment.skip_bad_steps,
        )(state, batch)

    return step
