"""The picture of a law: loss by FLOPs, a curve for each size."""

from pathlib import Path
from typing import Any

import numpy as np

from lm_jax.laws.bootstrap import Bootstrap
from lm_jax.laws.budget import best_parameters, cost_of
from lm_jax.laws.points import Point
from lm_jax.runs.figures import short
from lm_jax.runs.overlay import COLOURS
from lm_jax.runs.picture import framed, save


def draw_law(
    found: Bootstrap,
    points: list[Point],
    out: Path,
    prediction: dict[str, Any] | None = None,
) -> None:
    """Draw runs, the law of each size, and the best of each budget, as PNG.

    Args:
        found: a law and its resamples.
        points: the runs that it was fitted to.
        out: where the picture goes.
        prediction: of a run that is to be; see `predicted`.

    Raises:
        UserError: `out` can't be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.8), dpi=150, layout="constrained")
    axes, cost, law = figure.subplots(), cost_of(points), found.law
    reach = max(point.flops for point in points)
    if prediction is not None:
        size, tokens = prediction["parameters"], prediction["tokens"]
        place = tokens * cost.factor * size**cost.power
        reach = max(reach, place)
        low, high = prediction["interval"]
        axes.errorbar(
            [place],
            [prediction["loss"]],
            yerr=[[prediction["loss"] - low], [high - prediction["loss"]]],
            fmt="D",
            color="black",
            capsize=4,
            label=f"predicted: {short(size)} on {short(tokens)} tokens",
        )
    for index, size in enumerate(sorted({point.parameters for point in points})):
        same = [point for point in points if point.parameters == size]
        colour = COLOURS[index % len(COLOURS)]
        flops = [point.flops for point in same]
        losses = [point.loss for point in same]
        axes.plot(flops, losses, "o", color=colour, label=f"{short(size)} parameters")
        curve = np.geomspace(min(flops), reach, 100)
        tokens = curve * same[0].tokens / same[0].flops
        axes.plot(curve, law.loss(size, tokens), color=colour, linewidth=1)
    budgets = np.geomspace(min(point.flops for point in points), reach, 100)
    best = np.array([best_parameters(law, cost, each) for each in budgets])
    frontier = law.loss(best, cost.tokens(best, budgets))
    axes.plot(budgets, frontier, "--", color="#333333", label="best of each budget")
    axes.set_xscale("log")
    axes.set_xlabel("FLOPs of training")
    axes.set_ylabel("validation loss (nats per token)")
    axes.set_title("E + A / N^alpha + B / D^beta, fitted to the points", fontsize=10)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    framed(axes)
    save(figure, out)
