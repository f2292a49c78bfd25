"""The results of many runs beside the published figures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lm_jax.commands.options import read_options
from lm_jax.errors import UserError
from lm_jax.runs.table import as_measure, lines, measures, rows_below

COMMITTED = Path(__file__).parents[2] / "experiments" / "results"


@dataclass(frozen=True)
class Options:
    """Print the results of runs, by corpus, beside the published figures.

    Without a folder: the results that come with lm_jax. "ours" is the mean over
    the seeds and their standard deviation.
    """

    folder: Annotated[Path, tyro.conf.Positional] = COMMITTED
    """Folder with results; `runs` shows your own."""
    measure: str | None = None
    """Such as "validation bits_per_byte"; what was published if not given."""


def main(args: list[str]) -> None:
    """Run the command."""
    options = read_options(Options, "table", args)
    asked = [as_measure(options.measure)] if options.measure else None
    shown = False
    for corpus, rows in rows_below(options.folder).items():
        tables = [list(lines(corpus, rows, m)) for m in asked or measures(rows)]
        if any(tables):
            print("\n" * shown + "\n".join(line for table in tables for line in table))
            shown = True
    if not shown:
        raise UserError(
            f"No run below {options.folder} was scored by '{options.measure}'. Scores "
            "have names such as loss, perplexity, bits_per_byte and accuracy; "
            "`evaluate RUN --split test` scores another split."
        )
