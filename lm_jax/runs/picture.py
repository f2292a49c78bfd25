"""The picture of a run: its losses over the steps."""

import io
import itertools
import math
from pathlib import Path
from typing import Any

from lm_jax.errors import UserError
from lm_jax.files import atomic_write
from lm_jax.runs.lettering import letter
from lm_jax.runs.metrics import read_metrics

# Okabe and Ito's colours, told apart by colour-blind readers and in print.
_TRAIN, _VALIDATION, _REFERENCE = "#0072B2", "#D55E00", "#333333"
_RATE, _NORM = "#009E73", "#AA6691"
_MOST_POINTS = 4000  # more than the picture has columns of dots

Series = tuple[list[int], list[float]]


def draw_run(run: Path, out: Path, reference: tuple[str, float] | None = None) -> None:
    """Draw the losses of a run, its learning rate and gradient norm, as PNG.

    Args:
        run: a directory with metrics.jsonl.
        out: where the picture goes.
        reference: a published figure, as (name, validation loss).

    Raises:
        UserError: if the run has no losses yet, or `out` cannot be written.
    """
    from matplotlib.figure import Figure

    rows = read_metrics(run / "metrics.jsonl")
    train, validation = _series(rows, "loss"), _series(rows, "validation_loss")
    if not train[0] and not validation[0]:
        raise UserError(f"{run / 'metrics.jsonl'} has no losses to draw yet.")
    rate, norm = _series(rows, "learning_rate"), _series(rows, "grad_norm")

    figure = Figure(figsize=(8, 5.2), dpi=150, layout="constrained")
    if rate[0] or norm[0]:
        losses, below = figure.subplots(2, sharex=True, height_ratios=(3.2, 1))
        _draw_optimizer(below, rate, norm)
        below.set_xlabel("step")
    else:
        losses = figure.subplots()
        losses.set_xlabel("step")
    _draw_losses(losses, train, validation, reference)
    losses.set_title(" / ".join(run.absolute().parts[-3:]), fontsize=10)

    letter(figure)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    atomic_write(out, png.getvalue())


def _draw_losses(
    axes: Any,
    train: Series,
    validation: Series,
    reference: tuple[str, float] | None,
) -> None:
    """The upper panel: losses in nats."""
    if train[0]:
        axes.plot(*_thinned(train), color=_TRAIN, alpha=0.25, linewidth=0.7)
        axes.plot(*_thinned(_smoothed(train)), color=_TRAIN, label="training, smoothed")
    if validation[0]:
        axes.plot(
            *validation, "o-", color=_VALIDATION, markersize=4, label="validation"
        )
        best, step = min(zip(validation[1], validation[0], strict=True))
        early = 2 * step < max(validation[0])  # keep the words inside the panel
        axes.annotate(
            f"best {best:.4f}\nat step {step}",
            (step, best),
            xytext=(8 if early else -8, 26),
            textcoords="offset points",
            ha="left" if early else "right",
            color=_VALIDATION,
            arrowprops={"arrowstyle": "-", "color": _VALIDATION, "linewidth": 0.8},
        )
    if reference is not None:
        name, figure = reference
        axes.axhline(
            figure,
            color=_REFERENCE,
            linestyle="--",
            linewidth=1,
            zorder=1,
            label=f"{name}: {figure:g}",
        )
    axes.set_ylabel("loss (nats)")
    axes.legend(frameon=False, loc="upper right")
    _plain(axes)


def _draw_optimizer(axes: Any, rate: Series, norm: Series) -> None:
    """The lower panel: learning rate on the left, gradient norm on the right."""
    if norm[0]:
        right = axes.twinx()
        right.plot(*_thinned(norm), color=_NORM, alpha=0.6, linewidth=0.7)
        right.set_ylabel("gradient norm", color=_NORM)
        # A single spike would flatten everything else.
        usual = sorted(norm[1])[int(0.99 * (len(norm[1]) - 1))]
        right.set_ylim(0, 1.15 * usual or 1)
        _plain(right)
        right.grid(visible=False)
        right.spines["right"].set_visible(True)
        axes.set_zorder(right.get_zorder() + 1)
        axes.patch.set_visible(False)
    if rate[0]:
        axes.plot(*_thinned(rate), color=_RATE)
    axes.set_ylabel("learning rate", color=_RATE)
    axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    _plain(axes)


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25, linewidth=0.5)


def _series(rows: list[dict], name: str) -> Series:
    """The steps and values of the lines that have a finite value by that name."""
    pairs = [(row["step"], float(row[name])) for row in rows if name in row]
    finite = [(step, value) for step, value in pairs if math.isfinite(value)]
    return [step for step, _ in finite], [value for _, value in finite]


def _smoothed(series: Series) -> Series:
    """The mean over a fiftieth of the points around each, so without a lag.

    At the start, where the loss falls fast, the window shrinks and stays
    centred; at the end it keeps its past, so that one batch is no trend.
    """
    steps, values = series
    sums = [0.0, *itertools.accumulate(values)]
    half = len(values) // 100
    smooth = []
    for i in range(len(values)):
        reach = min(half, i)
        first, last = i - reach, min(i + reach, len(values) - 1)
        smooth.append((sums[last + 1] - sums[first]) / (last + 1 - first))
    return steps, smooth


def _thinned(series: Series) -> Series:
    """Every n-th point, and the last one."""
    steps, values = series
    stride = max(1, math.ceil(len(steps) / _MOST_POINTS))
    last = [-1] if (len(steps) - 1) % stride else []
    chosen = [*range(0, len(steps), stride), *last]
    return [steps[i] for i in chosen], [values[i] for i in chosen]
