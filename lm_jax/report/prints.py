"""Figures for print: PNG and SVG of what the page draws."""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lm_jax.errors import UserError
from lm_jax.files import atomic_write, writing
from lm_jax.report.curves import Curves, curves, limits, names
from lm_jax.report.gathered import Gathered
from lm_jax.runs.lettering import in_legend, letter
from lm_jax.runs.overlay import COLOURS, STROKES
from lm_jax.runs.picture import plain

_KINDS = {"png": None, "svg": {"Date": None}}  # the same figure is the same file


def print_figures(gathered: Gathered, folder: Path) -> list[Path]:
    """Draw each number over the steps, as PNG and as SVG.

    Returns:
        The files.

    Raises:
        UserError: there are no curves, or the folder can't be written.
    """
    from matplotlib import rc_context

    found = {
        name: drawn
        for name in names(gathered.variants, gathered.measures)
        if (drawn := curves(gathered.variants, name))
    }
    if not found:
        raise UserError("There are no curves to draw: nothing has been trained yet.")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, drawn in found.items():
        figure = _figure(gathered, name, drawn)
        for kind, metadata in _KINDS.items():
            image = io.BytesIO()
            with rc_context({"svg.hashsalt": name}):
                figure.savefig(image, format=kind, metadata=metadata)
            path = folder / f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', name)}.{kind}"
            atomic_write(path, image.getvalue())
            files.append(path)
    return files


def _figure(gathered: Gathered, name: str, found: Sequence[Curves]) -> Any:
    """Means as lines, seeds as bands."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.2), dpi=300, layout="constrained")
    axes = figure.subplots()
    for each in found:
        style: dict[str, Any] = {
            "color": COLOURS[each.index % len(COLOURS)],
            "linestyle": STROKES[each.index // len(COLOURS) % len(STROKES)],
            "linewidth": 1.2,
        }
        label = in_legend(gathered.variants[each.index].name)
        for number, (steps, values) in enumerate(each.lines):
            named = label if number == 0 else None
            # A line of one point is seen by its mark alone.
            mark = "o" if len(steps) == 1 else ""
            axes.plot(steps, values, label=named, marker=mark, **style)
        if each.band is not None:
            steps, _, low, high, _ = each.band
            axes.fill_between(steps, low, high, alpha=0.2, color=style["color"], lw=0)
    axes.set_xlabel("step")
    axes.set_ylabel(name.replace("_", " "))
    axes.set_ylim(limits(found, name))
    axes.legend(frameon=False)
    plain(axes)
    letter(figure)
    return figure
