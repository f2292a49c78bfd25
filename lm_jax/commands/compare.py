"""Whether the runs of one folder are better than those of another."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lm_jax.commands.as_json import print_json
from lm_jax.commands.options import read_options
from lm_jax.files import given_path
from lm_jax.runs.display import Display
from lm_jax.statistics.folders import compare_folders
from lm_jax.statistics.verdicts import BETTER, WORSE

NOT_SHOWN = 3


@dataclass(frozen=True)
class Options:
    """Say whether B is better than A, in words and in the exit status.

    A and B are folders of runs of one variant each, as runs/gpt/base and
    runs/gpt/rotary with their seed0, seed1, ... They are paired by seed and judged as
    a sweep judges. The status is 0 where B is better, 1 where it is worse, 3 where no
    difference was shown (inconclusive, too few seeds, none that matters, no verdict on
    unequal budgets: the words tell which) and 2 where they can't be compared: runs of a
    sweep can once all of both have ended.

    With --json one object stands on standard output: "a", "b", "split", "measure",
    "seen" ("" is as in training), "seeds", "scores" and "means" (each with "a" and
    "b"), "difference" (B less A), "deviation", "interval" (low, high), "p" ("t" and
    "permutation"), "items" ("items", "mean", "low", "high", or null), "level",
    "verdict", "notes". All else goes to standard error.

    Where each run kept its items (`evaluate RUN --items --step` with its last step), an
    interval over them stands beside: what other texts like these would have given, with
    these trained models. Verdicts rest on the seeds alone.
    """

    a: Annotated[Path, tyro.conf.Positional]
    """Folder of the runs to compare with."""
    b: Annotated[Path, tyro.conf.Positional]
    """Folder of the runs that are judged."""
    measure: str | None = None
    """Such as bits_per_byte; if not given, that of the sweep that planned both, or what
    the runs watch."""
    split: Literal["validation", "test"] = "validation"
    """Which split the scores are of."""
    seen: str = ""
    """What was seen before each token that is scored, as `evaluate --context 256`
    says it: "disjoint windows of 256 tokens"; as in training, if not given."""
    level: float | None = None
    """How often a difference may be found where there is none; the sweep's, or 0.05, if
    not given."""
    smallest: float | None = None
    """The smallest difference that matters, in units of the measure; the sweep's, for
    its own measure, if not given."""
    json: bool = False
    """Print one JSON object."""


def main(args: list[str]) -> int:
    """Run the command; the status is the verdict."""
    options = read_options(Options, "compare", args)
    a, b = given_path(options.a, "A"), given_path(options.b, "B")
    score = options.measure and options.measure.strip().replace(" ", "_")
    asked = options.split, options.level, options.smallest, options.seen
    pairs = compare_folders(a, b, score, *asked)
    aside = Display(0, sys.stderr)
    for note in pairs.notes:
        aside.message(note)
    if options.json:
        print_json(pairs.to_json())
    else:
        display = Display(0)
        for line in pairs.lines():
            display.message(line)
    return {BETTER: 0, WORSE: 1}.get(pairs.found.verdict, NOT_SHOWN)
