"""What steps take, measured here and now."""

import time
from collections.abc import Callable
from typing import Any

import jax

from lm_jax.sharding import to_mesh
from lm_jax.training.compiled import Compiled
from lm_jax.training.resolved import Setup
from lm_jax.training.state import TrainState

STEPS = 5  # that are measured, after one that isn't
_ROUNDS = 3


def stepper(setup: Setup, compiled: Compiled) -> Callable[[int], TrainState]:
    """Give what makes so many steps more, and waits for them."""
    constants, state = setup.constants(), setup.first_state()

    def run(count: int) -> TrainState:
        nonlocal state
        for k in range(count):
            given = to_mesh(setup.order.batch(k), setup.mesh)
            state, metrics = compiled.step(state, given, constants)
        jax.block_until_ready(metrics)
        return state

    return run


def seconds(run: Callable[[int], Any], count: int) -> float:
    """Seconds of so many, after one that compiles."""
    run(1)
    began = time.perf_counter()
    run(count)
    return time.perf_counter() - began


def seconds_of_step(setup: Setup) -> float:
    """The shortest of a few measured times, which others on the machine made longer."""
    run = stepper(setup, Compiled(setup))
    return min(seconds(run, STEPS) for _ in range(_ROUNDS)) / STEPS
