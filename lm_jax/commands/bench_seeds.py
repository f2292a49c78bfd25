"""Seeds that one program trains together, beside one after another."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro

from lm_jax.bounds import check, within
from lm_jax.commands.options import read_options
from lm_jax.errors import UserError
from lm_jax.experiment import Experiment, load
from lm_jax.files import write_json
from lm_jax.runs.display import Display
from lm_jax.sharding import to_mesh
from lm_jax.training.compiled import Compiled, stacked, stacked_constants
from lm_jax.training.resolved import Setup
from lm_jax.training.setup import set_up

Run = Callable[[int], Any]


@dataclass(frozen=True)
class Options:
    """Measure whether `sweep --together` is faster here, by turns in one process.

    Tokens a second of all seeds: one after another, each step on the whole machine;
    and together, a step of all at once. Close other programs first.
    """

    file: Annotated[str, tyro.conf.Positional] = "experiments/gpt_shakespeare.py"
    """Experiment file, or FILE.py:VARIANT."""
    seeds: tuple[int, ...] = within("[2, 100]", (2, 4, 8))
    """How many at once."""
    steps: int = within("[1, 10000]", 20)
    """Of each seed in a turn."""
    turns: int = within("[1, 1000]", 5)
    """Of both."""
    write: Path | None = None
    """Write the figures here as JSON too."""


def main(args: list[str]) -> None:
    """Run the command.

    Raises:
        UserError: the experiment has no steps, or can't be set up.
    """
    options = read_options(Options, "bench seeds", args)
    check(options, "bench seeds")
    experiment = load(options.file).experiment
    if not isinstance(experiment, Experiment):
        raise UserError(f"{options.file} is fitted by counting, without steps.")
    print("seeds  alone, tokens/s  together   times as fast")
    found = []
    for seeds in options.seeds:
        row = _measured(experiment, seeds, options)
        found.append(row)
        print(
            f"{seeds:5}  {row['alone']:15,.0f}  {row['together']:8,.0f}   "
            f"{row['ratio']:.2f} ({row['lowest']:.2f} to {row['highest']:.2f})"
        )
    if options.write is not None:
        write_json(options.write, {"file": options.file, "seeds": found})


def _measured(experiment: Experiment, seeds: int, options: Options) -> dict[str, Any]:
    """Tokens a second of both ways, and how their turns compare."""
    execution = replace(experiment.execution, together=seeds)
    setup = set_up(experiment)
    ways = {
        "alone": _alone(setup, seeds),
        "together": _together(set_up(replace(experiment, execution=execution)), seeds),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    display = Display(0)
    for turn in range(options.turns + 1):
        display.work(f"{seeds} seeds by turns", turn, options.turns)
        for name, run in ways.items():
            began = time.perf_counter()
            run(options.steps)
            taken[name].append(time.perf_counter() - began)
    display.close()
    alone, together = (taken[name][1:] for name in ways)  # the first compiles
    ratios = [a / b for a, b in zip(alone, together, strict=True)]
    tokens = seeds * options.steps * setup.units.tokens
    return {
        "number": seeds,
        "alone": tokens / statistics.median(alone),
        "together": tokens / statistics.median(together),
        "ratio": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
    }


def _alone(setup: Setup, seeds: int) -> Run:
    """Steps of each seed, one seed after another."""
    compiled = Compiled(setup)
    states = [compiled.first_state(seed) for seed in range(seeds)]
    constants = setup.constants()

    def run(steps: int) -> None:
        for k, state in enumerate(states):
            for step in range(steps):
                batch = to_mesh(setup.order.batch(step), setup.mesh)
                state, metrics = compiled.step(state, batch, constants)
            states[k] = state
            jax.block_until_ready(metrics)

    return run


def _together(setup: Setup, seeds: int) -> Run:
    """The same steps, all seeds at once."""
    compiled = Compiled(setup)
    program = compiled.rows
    assert program is not None
    rows = stacked([compiled.first_state(seed) for seed in range(seeds)])
    constants = setup.constants()
    constants = stacked_constants([constants] * seeds)

    def run(steps: int) -> None:
        nonlocal rows
        for step in range(steps):
            given = [to_mesh(setup.order.batch(step), setup.mesh) for _ in range(seeds)]
            rows, metrics = program(rows, stacked(given), constants)
        jax.block_until_ready(metrics)

    return run
