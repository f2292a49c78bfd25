"""Fit a scaling law to runs, and predict what a larger one will give."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lm_jax.commands.options import read_options
from lm_jax.errors import UserError
from lm_jax.laws.bootstrap import bootstrap
from lm_jax.laws.law import fit
from lm_jax.laws.picture import draw_law
from lm_jax.laws.points import arrays, read_points
from lm_jax.laws.prediction import NAME, check, check_free, keep, predicted
from lm_jax.laws.report import lines
from lm_jax.runs.directory import find_run
from lm_jax.runs.display import Display


@dataclass(frozen=True)
class Options:
    """Fit the loss of ended runs to their parameters N and tokens D.

    L(N, D) = E + A / N^alpha + B / D^beta (Hoffmann et al. 2022), with intervals of
    all five, of the best size for a budget, and of a run that is yet to be made:

        ./launch.sh laws runs/scaling_shakespeare --predict 8e6 1e6
        train FILE --run runs/large ...
        ./launch.sh laws runs/large --check prediction.json

    Runs must be scored alike, end with at most a tenth of their highest learning rate,
    and be of 3 sizes and 3 token counts at the least.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Runs, or folders of runs."""
    predict: tuple[float, float] | None = None
    """Parameters and tokens of a run: its loss, with an interval, is kept."""
    to: Path = Path(NAME)
    """Where the prediction is kept; one that is there is never changed."""
    check: Path | None = None
    """A prediction: whether the loss of the run lies within its interval."""
    flops: float | None = None
    """A budget; ten times the largest run's if not given."""
    out: Path | None = None
    """Draw runs and law into a PNG."""


def main(args: list[str]) -> None:
    """Run the command."""
    options = read_options(Options, "laws", args)
    if options.check is not None:
        _check(options, options.check)
        return
    given = {"--predict": options.predict or (), "--flops": (options.flops or 1.0,)}
    for flag, values in given.items():
        if not all(math.isfinite(value) and value > 0 for value in values):
            raise UserError(f"{flag} {' '.join(map(str, values))}: give more than 0.")
    if options.predict is not None:
        check_free(options.to)
    points = read_points(options.runs)
    display, ladder = Display(0), arrays(points)
    law = fit(*ladder)
    found = bootstrap(law, *ladder, display.work)
    display.close()
    print("\n".join(lines(found, points, options.flops)))
    prediction = None
    if options.predict is not None:
        prediction = predicted(found, points, *options.predict)
        keep(prediction, options.to)
        low, high = prediction["interval"]
        size, tokens = options.predict
        print(f"Predicted for {size:,.0f} parameters on {tokens:,.0f} tokens")
        print(f"  loss        {prediction['loss']:.4f}, {low:.4f} to {high:.4f}")
        display.message(f"It is kept in {options.to}: make the run, then --check it.")
    if options.out is not None:
        draw_law(found, points, options.out, prediction)
        display.message(f"The picture is in {options.out}.")


def _check(options: Options, prediction: Path) -> None:
    """Say whether a run is as predicted.

    Raises:
        UserError: several runs, or other options, are given.
    """
    if len(options.runs) != 1 or options.predict or options.flops or options.out:
        raise UserError("--check takes one run, and nothing else: RUN --check FILE.")
    print("\n".join(check(prediction, find_run(options.runs[0]))))
