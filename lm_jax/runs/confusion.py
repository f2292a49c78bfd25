"""The picture of which classes were taken for which."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lm_jax.runs.directory import title_of
from lm_jax.runs.picture import save

_MOST = 20  # Classes whose counts can be read as numbers.


def confusion_of(run: Path, split: str) -> Path:
    """Where the picture of a split is."""
    return run / f"confusion_{split}.png"


def draw_confusion(run: Path, found: Mapping[str, Any], split: str) -> None:
    """Draw `<run>/confusion_<split>.png`, if an evaluation found such a matrix.

    Colours are shares of a row, so that rare classes show; the numbers are counts.

    Args:
        run: its directory.
        found: what an evaluation says beside its scores.
        split: that it is of.

    Raises:
        UserError: the picture cannot be written.
    """
    from matplotlib.figure import Figure

    if "confusion" not in found:
        return
    labels = found["confusion"]["labels"]
    counts = np.array(found["confusion"]["counts"])
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 2.5 + 0.5 * min(len(labels), 2 * _MOST)
    figure = Figure(figsize=(side, side), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(labels) <= _MOST:
        for (row, column), count in np.ndenumerate(counts):
            dark = shares[row, column] > 0.5
            colour = "white" if dark else "black"
            axes.text(column, row, f"{count:,}", ha="center", va="center", color=colour)
    names = [label if len(label) <= 20 else f"{label[:19]}…" for label in labels]
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("label")
    axes.set_title(f"{title_of(run)}, {split}: {counts.sum():,} texts", fontsize=9)
    save(figure, confusion_of(run, split))
