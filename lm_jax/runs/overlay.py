"""One picture of many runs: their validation curves, a panel for each table."""

import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from lm_jax.errors import UserError
from lm_jax.runs.lettering import in_legend
from lm_jax.runs.metrics import read_metrics
from lm_jax.runs.picture import Series, plain, save, series
from lm_jax.runs.rows import Measure, Row

# Okabe and Ito's colours, then the same again in other strokes.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
STROKES = ("-", "--", "-.", ":")

Tables = Iterable[tuple[str, list[Row], Measure]]
Axis = Literal["step", "seconds"]


def draw_curves(tables: Tables, out: Path, axis: Axis = "step") -> None:
    """Draw how runs were scored while they trained, a colour for each row, as PNG.

    Thin lines are runs, thick ones the mean of a row's runs. A row without a curve,
    such as n-grams, is a level line at its figure.

    Args:
        tables: the corpus, its rows and the measure of each; the curves are of the
            validation split, whatever the split of the measure.
        out: where the picture goes.
        axis: what curves run along. Seconds are those of training steps, at a row's
            mean pace: compiling and evaluations are left out.

    Raises:
        UserError: no run has a curve, or says how long its steps took; the picture
            cannot be written.
    """
    from matplotlib.figure import Figure

    panels = [
        (corpus, score, [(row, _curves(row, score)) for row in rows])
        for corpus, rows, (_, score) in tables
    ]
    panels = [panel for panel in panels if any(curves for _, curves in panel[2])]
    if not panels:
        raise UserError(
            "No run here has a curve to draw: curves are in metrics.jsonl, beside "
            "result.json."
        )
    size = (10, 0.6 + 4.2 * len(panels))
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    grid = figure.subplots(len(panels), squeeze=False)
    for axes, panel in zip(grid[:, 0], panels, strict=True):
        _draw(axes, *panel, axis)
    save(figure, out)


def _curves(row: Row, score: str) -> list[Series]:
    """The curve of each run of a row that has one."""
    paths = [run.path / "metrics.jsonl" for run in row.runs]
    found = [
        series(read_metrics(path), f"validation_{score}")
        for path in paths
        if path.exists()
    ]
    return [curve for curve in found if curve[0]]


def _pace(row: Row) -> float:
    """Seconds of a step, the mean of a row's runs.

    Raises:
        UserError: a run doesn't say how long its steps took.
    """
    paces = []
    for run in row.runs:
        took = run.result.get("seconds_by_phase", {}).get("step")
        if not took:
            raise UserError(
                f"{run.path} doesn't say how long its steps took: draw it along steps."
            )
        paces.append(took / run.result["steps"])
    return sum(paces) / len(paces)


def _draw(
    axes: Any,
    corpus: str,
    score: str,
    rows: list[tuple[Row, list[Series]]],
    axis: Axis,
) -> None:
    """A panel."""
    for index, (row, curves) in enumerate(rows):
        stroke = STROKES[index // len(COLOURS) % len(STROKES)]
        style = {"color": COLOURS[index % len(COLOURS)], "linestyle": stroke}
        seeds = f" ({len(row.runs)} seeds)" * (len(row.runs) > 1)
        label = in_legend(textwrap.fill(row.name + seeds, 32))
        if curves:
            pace = _pace(row) if axis == "seconds" else 1.0
            _draw_row(axes, curves, label, style, pace)
            continue
        level = row.figures(("validation", score), row.policy, "end")
        if level:
            mean = sum(figure.value for figure in level) / len(level)
            axes.axhline(mean, label=label, linewidth=1.2, **style)
    axes.set_title(corpus, fontsize=10)
    axes.set_xlabel("step" if axis == "step" else "seconds of training steps")
    axes.set_ylabel(f"validation {score.replace('_', ' ')}")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    plain(axes)


def _draw_row(
    axes: Any, curves: list[Series], label: str, style: dict, pace: float
) -> None:
    """The runs of a row, thin, and their mean at the steps that all have."""
    if len(curves) > 1:
        for steps, values in curves:
            along = [pace * step for step in steps]
            axes.plot(along, values, alpha=0.35, linewidth=0.8, **style)
    by_step = [dict(zip(*curve, strict=True)) for curve in curves]
    steps = sorted(set.intersection(*(set(found) for found in by_step)))
    means = [sum(found[step] for found in by_step) / len(by_step) for step in steps]
    marker = {"marker": "o", "markersize": 3} if len(steps) <= 40 else {}
    along = [pace * step for step in steps]
    axes.plot(along, means, label=label, **marker, **style)
