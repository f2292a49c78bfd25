"""The picture of a run: what its objective measures, over the steps."""

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from lm_jax.errors import UserError
from lm_jax.files import atomic_write
from lm_jax.runs.directory import title_of
from lm_jax.runs.lettering import in_legend, letter
from lm_jax.runs.metrics import read_metrics

# Okabe and Ito's colours, told apart by colour-blind readers and in print.
_TRAIN, _VALIDATION, _REFERENCE = "#0072B2", "#D55E00", "#333333"
_RATE, _NORM = "#009E73", "#AA6691"
_MOST_POINTS = 4000  # more than the picture has columns of dots

Series = tuple[list[int], list[float]]


class Reference(NamedTuple):
    """A published figure of the validation split, and where it stands."""

    source: str
    score: str
    value: float


@dataclass(frozen=True)
class Measured:
    """What the numbers of a run are.

    Attributes:
        unit: of the loss.
        watched: the score by which the best step is chosen.
        larger_is_better: of that score.
    """

    unit: str = "nats per token"
    watched: str = "loss"
    larger_is_better: bool = False

    def label(self, score: str) -> str:
        """A score and its unit, as an axis says it."""
        if score == "loss":
            return f"loss ({self.unit})"
        counted = self.unit.rpartition(" per ")[2]
        share = f" (share of {counted}s)" if score.endswith("accuracy") else ""
        return f"{score.replace('_', ' ')}{share}"


def draw_run(
    run: Path,
    out: Path,
    reference: Reference | None = None,
    measured: Measured = Measured(),
) -> None:
    """Draw what a run measured, its learning rate and gradient norm, as PNG.

    Losses of training and validation share a panel; the score that is watched and
    accuracies have one each.

    Args:
        run: a directory with metrics.jsonl.
        out: where the picture goes.
        reference: a published figure.
        measured: what the numbers are.

    Raises:
        UserError: if the run has no losses yet, or `out` cannot be written.
    """
    from matplotlib.figure import Figure

    rows = read_metrics(run / "metrics.jsonl")
    panels = [name for name in _scores(rows, measured) if _curves(rows, name)]
    if not panels:
        raise UserError(f"{run / 'metrics.jsonl'} has no losses to draw yet.")
    rate, norm = series(rows, "learning_rate"), series(rows, "grad_norm")

    heights = [3.2] * len(panels) + [1.0] * bool(rate[0] or norm[0])
    figure = Figure(figsize=(8, 1 + sum(heights)), dpi=150, layout="constrained")
    grid = figure.subplots(len(heights), sharex=True, height_ratios=heights)
    axes = list(grid) if len(heights) > 1 else [grid]
    for name, panel in zip(panels, axes, strict=False):
        there = reference is not None and reference.score == name
        _draw_score(panel, rows, name, measured, reference if there else None)
    if len(heights) > len(panels):
        _draw_optimizer(axes[-1], rate, norm)
    axes[-1].set_xlabel("step")
    figure.suptitle(title_of(run), fontsize=10)

    save(figure, out)


def save(figure: Any, out: Path) -> None:
    """Write a figure as PNG, whole or not at all.

    Raises:
        UserError: `out` cannot be written, or has the name of another format.
    """
    if out.suffix.lower() != ".png":
        raise UserError(f"Pictures are PNG: name it {out.with_suffix('.png')}.")
    letter(figure)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    atomic_write(out, png.getvalue())


def _scores(rows: list[dict], measured: Measured) -> list[str]:
    """The loss, the score that is watched, and accuracies: each once."""
    found = dict.fromkeys(["loss", measured.watched])
    for row in rows:
        for name in row:
            if name.startswith("validation_") and name.endswith("accuracy"):
                found[name.removeprefix("validation_")] = None
    return list(found)


def _curves(rows: list[dict], score: str) -> tuple[Series, Series] | None:
    """A score over training, which only the loss has, and over validation."""
    train = series(rows, "loss") if score == "loss" else ([], [])
    validation = series(rows, f"validation_{score}")
    return (train, validation) if train[0] or validation[0] else None


def _draw_score(
    axes: Any,
    rows: list[dict],
    score: str,
    measured: Measured,
    reference: Reference | None,
) -> None:
    """A panel: a score of training and validation, the best, what was published."""
    curves = _curves(rows, score)
    assert curves is not None
    train, validation = curves
    watched = score == measured.watched
    larger = measured.larger_is_better if watched else score.endswith("accuracy")
    if train[0]:
        axes.plot(*_thinned(train), color=_TRAIN, alpha=0.25, linewidth=0.7)
        steps, values = train
        smooth = steps, smoothed(np.array(values)).tolist()
        axes.plot(*_thinned(smooth), color=_TRAIN, label="training, smoothed")
    if validation[0]:
        axes.plot(
            *validation, "o-", color=_VALIDATION, markersize=4, label="validation"
        )
        _mark_best(axes, validation, larger)
    if reference is not None:
        axes.axhline(
            reference.value,
            color=_REFERENCE,
            linestyle="--",
            linewidth=1,
            zorder=1,
            label=in_legend(f"{reference.source}: {reference.value:g}"),
        )
    axes.set_ylabel(measured.label(score))
    axes.legend(framealpha=0.8, edgecolor="none", loc="best")
    plain(axes)


def _mark_best(axes: Any, validation: Series, larger: bool) -> None:
    """Ring the best point, and say it above the panel, where it covers nothing."""
    choose = max if larger else min
    best, step = choose(zip(validation[1], validation[0], strict=True))
    axes.scatter([step], [best], s=90, facecolors="none", edgecolors=_VALIDATION)
    words = f"best {best:.4f} at step {step}"
    axes.set_title(words, loc="right", fontsize=9, color=_VALIDATION)


def _draw_optimizer(axes: Any, rate: Series, norm: Series) -> None:
    """The lower panel: learning rate on the left, gradient norm on the right."""
    if norm[0]:
        right = axes.twinx()
        right.plot(*_thinned(norm), color=_NORM, alpha=0.6, linewidth=0.7)
        right.set_ylabel("gradient norm", color=_NORM)
        # A single spike would flatten everything else.
        usual = sorted(norm[1])[int(0.99 * (len(norm[1]) - 1))]
        right.set_ylim(0, 1.15 * usual or 1)
        plain(right)
        right.grid(visible=False)
        right.spines["right"].set_visible(True)
        axes.set_zorder(right.get_zorder() + 1)
        axes.patch.set_visible(False)
    if rate[0]:
        axes.plot(*_thinned(rate), color=_RATE)
    axes.set_ylabel("learning rate", color=_RATE)
    axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    plain(axes)


def plain(axes: Any) -> None:
    """Do as `framed` does, with steps along the axis."""
    axes.xaxis.get_major_locator().set_params(integer=True)  # there is no half a step
    framed(axes)


def framed(axes: Any) -> None:
    """Leave out what says nothing: half of the frame, all but a light grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25, linewidth=0.5)


def series(rows: list[dict], name: str) -> Series:
    """The steps and values of the lines that have a finite value by that name."""
    pairs = [(row["step"], float(row[name])) for row in rows if name in row]
    finite = [(step, value) for step, value in pairs if math.isfinite(value)]
    return [step for step, _ in finite], [value for _, value in finite]


def smoothed(
    values: Float[np.ndarray, "*runs points"],
) -> Float[np.ndarray, "*runs points"]:
    """The mean over a fiftieth of the points around each, so without a lag.

    At the start, where the loss falls fast, the window shrinks and stays
    centred; at the end it keeps its past, so that one batch is no trend.
    """
    count = values.shape[-1]
    at = np.arange(count)
    reach = np.minimum(count // 100, at)
    first, last = at - reach, np.minimum(at + reach, count - 1)
    sums = np.cumsum(np.insert(values, 0, 0.0, axis=-1), axis=-1)
    return (sums[..., last + 1] - sums[..., first]) / (last + 1 - first)


def _thinned(series: Series) -> Series:
    """Every n-th point, and the last one."""
    steps, values = series
    stride = max(1, math.ceil(len(steps) / _MOST_POINTS))
    last = [-1] if (len(steps) - 1) % stride else []
    chosen = [*range(0, len(steps), stride), *last]
    return [steps[i] for i in chosen], [values[i] for i in chosen]
