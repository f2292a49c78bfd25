"""Whether a learning rate transfers to wider models: sweeps, and muP's check."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lm_jax.commands.options import read_options
from lm_jax.errors import UserError
from lm_jax.experiment import Experiment, load
from lm_jax.laws.coordinates import GROWS, Coordinates, coordinates
from lm_jax.laws.transfer import lines, read_sweeps
from lm_jax.laws.transfer_picture import draw_coordinates, draw_sweeps
from lm_jax.runs.display import Display


@dataclass(frozen=True)
class Options:
    """Say whether the best learning rate moves with the width, from a finished sweep.

    The sweep has three widths or more, each with the same three rates or more, trained
    to the end of one budget, as in

        sweep FILE --variants w64,w128,w256 --grid schedule.peak=1e-3,2e-3,4e-3

    `transfer coordinates FILE[:VARIANT]` checks beforehand, in a few steps, that
    activations of all widths change alike, as muP wants it.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of the sweep."""
    out: Path | None = None
    """Draw loss by rate into a PNG, a curve for each width."""


@dataclass(frozen=True)
class Check:
    """The coordinate check: train a few steps at several widths, and measure.

    Of each layer it says the power of the width that activations grow with at the
    start, and that their change grows with after the last step (Yang et al. 2022, D.1).
    With muP no change does. The check is necessary, not sufficient.
    """

    file: Annotated[str, tyro.conf.Positional]
    """Experiment file, FILE.py or FILE.py:VARIANT."""
    widths: tuple[int, ...] = (64, 128, 256)
    """Widths of the model; its heads stay as many."""
    steps: int = 4
    """Steps that are trained, at the schedule's peak."""
    out: Path | None = None
    """Draw sizes and changes over widths into a PNG."""


def main(args: list[str]) -> None:
    """Run the command."""
    if args[:1] == ["coordinates"]:
        _check(read_options(Check, "transfer coordinates", args[1:]))
        return
    options = read_options(Options, "transfer", args)
    sweeps = read_sweeps(options.folder)
    display = Display(0)
    for sweep in sweeps:
        print("\n".join(_wrapped(lines(sweep))))
    if options.out is not None:
        draw_sweeps(sweeps, options.out)
        display.message(f"The picture is in {options.out}.")


def _check(options: Check) -> None:
    """Check the coordinates of an experiment.

    Raises:
        UserError: it isn't trained in steps.
    """
    experiment = load(options.file).experiment
    if not isinstance(experiment, Experiment):
        raise UserError(f"{options.file} is fitted by counting: it has no width.")
    display = Display(0)
    found = coordinates(experiment, options.widths, options.steps, display.work)
    display.close()
    print("\n".join(_wrapped(_table(found))))
    if options.out is not None:
        draw_coordinates(found, options.out)
        display.message(f"The picture is in {options.out}.")


def _table(found: Coordinates) -> Iterator[str]:
    """Powers of the width, by layer, and what follows."""
    widths = ", ".join(map(str, found.widths))
    steps = len(found.changes)
    yield f"Powers of the width ({widths}) that activations grow with"
    yield f"  {'layer':46}  at the start  change after {steps}"
    powers = found.powers(found.start), found.powers(found.changes[-1])
    for layer, start, change in zip(found.layers, *powers, strict=True):
        yield f"  {layer[-46:]:46}  {start:+12.2f}  {change:+14.2f}"
    if moved := found.moved:
        yield (
            f"{len(moved)} of {len(found.layers)} changes grow or shrink with the "
            f"width (a power beyond {GROWS:g}): rates can't be expected to transfer."
        )
    else:
        yield (
            "All changes are about as large at all widths: what transfer needs. It is "
            "necessary, not sufficient: transfer is shown by rate sweeps at three "
            "widths or more (`transfer FOLDER`)."
        )


def _wrapped(said: Iterator[str]) -> Iterator[str]:
    """Lines of at most 80 columns, each indented as it begins."""
    for line in said:
        indent = " " * (len(line) - len(line.lstrip()))
        if len(line) <= 80:
            yield line
            continue
        yield from textwrap.wrap(line, 80, subsequent_indent=indent)
