"""The results of many runs beside the published figures."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lm_jax.commands.as_json import print_json
from lm_jax.commands.options import read_options
from lm_jax.errors import UserError
from lm_jax.runs.exports import markdown, run_lines, write_csv
from lm_jax.runs.overlay import Axis, draw_curves
from lm_jax.runs.rows import (
    Measure,
    Row,
    all_measures,
    as_measure,
    measures,
    results_below,
    rows_of,
    unended_below,
    ways,
)
from lm_jax.runs.table import lines
from lm_jax.runs.trials import is_trial
from lm_jax.streams import spelled

COMMITTED = Path(__file__).parents[2] / "experiments" / "results"


@dataclass(frozen=True)
class Options:
    """Print the results of runs, by corpus, beside the published figures.

    A figure is the mean over the seeds and their standard deviation. What was seen
    before each token is the same in a group of rows; "best step" are the parameters
    whose validation was best, "last step" those at the end. Where variants of an
    experiment have seeds in common, their differences are taken seed by seed.
    """

    folder: Annotated[Path, tyro.conf.Positional] = Path("runs")
    """Folder with runs."""
    published: bool = False
    """Show the results that come with lm_jax."""
    measure: str | None = None
    """Such as "validation bits_per_byte"; what was published if not given."""
    csv: bool = False
    """Print comma-separated values: a line for each run, all digits."""
    markdown: bool = False
    """Print tables in Markdown."""
    json: bool = False
    """Print {"runs": [...]}: of each run what a line of the CSV has."""
    plot: Path | None = None
    """Draw the validation curves of all runs into a PNG, a panel for each corpus."""
    along: Axis = "step"
    """What --plot's curves run along. Seconds are those of training steps, at the mean
    pace of a row: compiling and evaluations are left out."""

    def __post_init__(self) -> None:
        """Refuse an axis of no picture."""
        if self.along != "step" and self.plot is None:
            raise UserError(f"--along {self.along} is of a picture: give --plot FILE.")


def main(args: list[str]) -> None:
    """Run the command."""
    options = read_options(Options, "table", args)
    if sum((options.csv, options.markdown, options.json)) > 1:
        raise UserError("Give one of --csv, --markdown and --json.")
    if options.published and options.folder != Options.folder:
        raise UserError(
            f"--published shows the results that come with lm_jax, not those of "
            f"{options.folder}: give one of the two."
        )
    runs, problems = results_below(COMMITTED if options.published else options.folder)
    for problem in problems:
        print(f"Left out: {spelled(problem)}", file=sys.stderr)
    if going := 0 if options.published else unended_below(options.folder):
        counted = "1 run that has" if going == 1 else f"{going} runs that have"
        print(f"Left out: {counted} not ended. `runs` shows them.", file=sys.stderr)
    # Of what is still tuned there is nothing else to show.
    corpora = rows_of([run for run in runs if not is_trial(run.path)] or runs)
    tables = _chosen(corpora, options.measure)
    if options.plot:
        draw_curves(tables, options.plot, options.along)
        print(f"The curves are in {options.plot}.", file=sys.stderr)
    if options.csv:
        write_csv(tables, sys.stdout)
        return
    if options.json:
        print_json({"runs": list(run_lines(tables))})
        return
    if options.markdown:
        print("\n\n".join("\n".join(markdown(*each)) for each in tables))
        return
    screen = shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else 80
    width = max(screen, 60)
    print("\n\n".join("\n".join(lines(*each, width)) for each in tables))


def _chosen(
    corpora: dict[str, list[Row]], asked: str | None
) -> list[tuple[str, list[Row], Measure]]:
    """What each table is of; a corpus without the measure that was asked for has none.

    Raises:
        UserError: no run was scored so.
    """
    if asked is None:
        return [(c, rows, m) for c, rows in corpora.items() for m in measures(rows)]
    there = sorted({m for rows in corpora.values() for m in all_measures(rows)})
    measure = as_measure(asked, there)
    chosen = [(c, rows, measure) for c, rows in corpora.items() if ways(rows, measure)]
    others = corpora.keys() - {corpus for corpus, *_ in chosen}
    if others:
        print(f"Not scored by '{asked}': {', '.join(sorted(others))}.", file=sys.stderr)
    return chosen
