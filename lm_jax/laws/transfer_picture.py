"""Pictures of what widths have in common: rate sweeps, and the coordinate check."""

import textwrap
from pathlib import Path
from typing import Any

from lm_jax.laws.coordinates import Coordinates
from lm_jax.laws.transfer import Sweep
from lm_jax.runs.overlay import COLOURS
from lm_jax.runs.picture import framed, save


def draw_sweeps(sweeps: list[Sweep], out: Path) -> None:
    """Draw loss by learning rate, a curve for each width, a panel for each sweep.

    Args:
        sweeps: of one folder.
        out: where the picture goes, a PNG.

    Raises:
        UserError: it can't be written.
    """
    figure, panels = _panels(len(sweeps))
    for sweep, axes in zip(sweeps, panels, strict=True):
        for index, (width, losses) in enumerate(sweep.losses.items()):
            colour = COLOURS[index % len(COLOURS)]
            axes.plot(
                list(losses),
                list(losses.values()),
                "o-",
                color=colour,
                label=f"{width}",
            )
            axes.axvline(sweep.optimum(width), color=colour, linewidth=1, alpha=0.5)
        title = sweep.title or "best rates are the lines"
        axes.set_title(textwrap.fill(title, 40), fontsize=9)
        _log_axis(axes, list(losses))
        axes.set_xlabel("peak learning rate")
        framed(axes)
    panels[0].set_ylabel("validation loss (nats per token)")
    panels[-1].legend(title="width", frameon=False)
    save(figure, out)


def draw_coordinates(found: Coordinates, out: Path) -> None:
    """Draw the sizes of activations, then their changes after each step, over widths.

    Args:
        found: by `coordinates`.
        out: where the picture goes, a PNG.

    Raises:
        UserError: it can't be written.
    """
    titles = ["size at the start"]
    titles += [f"change after step {k + 1}" for k in range(len(found.changes))]
    figure, panels = _panels(len(titles))
    for axes, title, sizes in zip(
        panels, titles, [found.start, *found.changes], strict=True
    ):
        for k, layer in enumerate(found.layers):
            last = layer == found.layers[-1]
            style = {"color": "black", "linewidth": 2} if last else {"linewidth": 0.8}
            axes.plot(found.widths, sizes[:, k], label=layer if last else None, **style)
        axes.set_title(title, fontsize=9)
        _log_axis(axes, list(found.widths))
        axes.set_yscale("log")
        axes.set_xlabel("width")
        framed(axes)
    panels[0].set_ylabel("mean |x|, a line for each layer")
    panels[0].legend(frameon=False)
    save(figure, out)


def _log_axis(axes: Any, values: list[int] | list[float]) -> None:
    """A logarithmic axis with a tick at each value."""
    axes.set_xscale("log")
    axes.set_xticks(values, [f"{value:g}" for value in values], rotation=45)
    axes.minorticks_off()


def _panels(count: int) -> tuple[Any, list[Any]]:
    """A figure of panels side by side, with one scale."""
    from matplotlib.figure import Figure

    size = (max(6.4, 3.2 * count), 4.0)
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    return figure, list(figure.subplots(1, count, sharey=True, squeeze=False)[0])
