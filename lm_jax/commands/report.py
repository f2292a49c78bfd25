"""Write a report of sweeps and runs: a page, a table for a paper, figures."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lm_jax.commands.as_json import print_json
from lm_jax.commands.options import read_options
from lm_jax.errors import UserError
from lm_jax.files import atomic_write, given_path, near
from lm_jax.report.gathering import gather
from lm_jax.report.objects import as_object
from lm_jax.report.page import page
from lm_jax.report.papers import latex, markdown, values
from lm_jax.report.prints import print_figures
from lm_jax.runs.display import Display
from lm_jax.statistics.words import sentences

_FORMS = {".html": page, ".md": markdown, ".tex": latex, ".csv": values}
_RUNS = tyro.conf.arg(metavar="RUN|SWEEP ...")


@dataclass(frozen=True)
class Options:
    """Write a report of a sweep, or of runs, into one file.

    A page (.html) needs nothing but a browser: verdicts, curves with bands over the
    seeds, samples, what differs, where and how the runs were made. Markdown (.md),
    LaTeX with booktabs (.tex) and comma-separated values (.csv, all digits) hold the
    tables. Of a sweep that is not through, what is missing is named; runs that are in
    no sweep are shown without a verdict.

        ./launch.sh report runs/positions --out positions.tex --figures figures
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, _RUNS]
    """Folders of sweeps, runs, or folders of runs."""
    out: Path | None = None
    """File; its ending says the form. report.html in the first folder if not given."""
    figures: Path | None = None
    """Folder for the curves, for print: PNG and SVG."""
    json: bool = False
    """Print {"reports": [...]}, each as of `sweep --json`, in place of a file."""


def main(args: list[str]) -> None:
    """Run the command."""
    options = read_options(Options, "report", args)
    paths = [given_path(path, "A run") for path in options.runs]
    out = given_path(options.out, "--out") if options.out else None
    if out is None:
        out = (paths[0] if paths[0].is_dir() else paths[0].parent) / "report.html"
    form = _FORMS.get(out.suffix.lower())
    if form is None:
        raise UserError(
            f"--out {out}: the ending says what is written: {', '.join(_FORMS)}."
        )
    if options.json and options.out:
        raise UserError("Give --out or --json, not both.")
    display = Display(0, sys.stderr)
    found = gather(paths, display.work)
    display.close()
    if options.json:
        print_json({"reports": [as_object(each) for each in found.reports]})
    else:
        atomic_write(out, form(found))
        said = Display(0)
        for each in found.reports:
            said.message("\n".join(sentences(each)))
        said.message(f"The report is in {near(out)}.")
    if options.figures:
        files = print_figures(found, given_path(options.figures, "--figures"))
        print(
            f"{len(files)} figures are in {near(files[0].parent)}.",
            file=sys.stderr if options.json else None,
        )
