"""What differs between two experiments or runs."""

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lm_jax.errors import UserError
from lm_jax.experiment import (
    AnyExperiment,
    Difference,
    Experiment,
    differences,
    load,
)
from lm_jax.experiment import read as read_experiment
from lm_jax.files import given_path
from lm_jax.platform import called
from lm_jax.runs.code import read_starts
from lm_jax.runs.directory import find_run
from lm_jax.runs.display import Display
from lm_jax.runs.environment import environment_differences
from lm_jax.runs.result import At, find_scores, read_result
from lm_jax.training.alike import (
    amounts,
    damages,
    obstacles,
    parameters,
    rates,
    resolved,
)

USAGE = """\
usage: ./launch.sh diff A B

Lists the fields in which two experiments differ, and what comes of it:
parameters, FLOPs, learning rates. A and B are experiment files (FILE.py or
FILE.py:VARIANT) or directories of runs. Of two runs, versions, flags and
results are compared too, and every file of data and checkpoints is read again.
At the end it says whether their scores can be compared, and if not, why.

  ./launch.sh diff experiments/gpt_shakespeare.py \\
      experiments/gpt_shakespeare.py:rotary"""


def main(args: list[str]) -> int:
    """Run the command."""
    if len(args) != 2:
        print(USAGE.replace("./launch.sh", called()))
        return 0 if args in (["-h"], ["--help"]) else 2
    (a, run_a), (b, run_b) = (read(name) for name in args)
    changed = differences(a, b)
    recipe = [each for each in changed if each.part == "recipe"]
    _print(recipe)
    if not recipe:
        print(f"The {'recipes' if changed else 'experiments'} are equal.")
    for part in ("execution", "notes"):
        others = [each for each in changed if each.part == part]
        # Of a note that one side lacks, the name is enough.
        names = {each.name for each in others}
        others = [e for e in others if e.name.rpartition(".")[0] not in names]
        if others:
            print(f"{part}, which decides no number")
            _print(others)
    if not recipe and not (run_a and run_b):
        return 0
    found = list(_compare_resolved(a, b))
    if run_a and run_b:
        found += _compare_runs(run_a, run_b)
        _compare_results(run_a, run_b)
    if not found:
        print("The scores of the two can be compared.")
        return 0
    print("The scores of the two can't be compared:")
    for obstacle in found:
        _print_wrapped(f"  {obstacle}")
    return 0


def _compare_resolved(a: AnyExperiment, b: AnyExperiment) -> Iterator[str]:
    """Print what two experiments resolve to; give why they can't be compared."""
    if not isinstance(a, Experiment) or not isinstance(b, Experiment):
        return
    aside = Display(0, sys.stderr)
    try:
        setups = resolved(a, aside.work), resolved(b, aside.work)
    except UserError as error:
        yield f"not known: {error}"
        return
    finally:
        aside.close()
    _print_columns("resolved", amounts(*setups))
    for title, pairs in (
        ("parameters", parameters(*setups)),
        ("learning rate", rates(*setups)),
    ):
        if pairs:
            print(title)
            _print([Difference(*pair, "recipe") for pair in pairs])
    yield from obstacles(*setups)


def _compare_runs(run_a: Path, run_b: Path) -> Iterator[str]:
    """Print where two runs were made otherwise; give why they can't be compared."""
    starts = [(read_starts(run) or [{}])[-1] for run in (run_a, run_b)]
    if changed := environment_differences(*starts):
        print("environment, where they were last started")
        _print([Difference(*each, "notes") for each in changed])
    codes = [start.get("code", {}).get("sources") for start in starts]
    if codes[0] != codes[1]:
        yield f"they were made by other code: {codes[0]} and {codes[1]}"
    for run in (run_a, run_b):
        if not (run / "result.json").exists():
            yield f"{run} has not ended"
        yield from damages(run)


def _print(changed: list[Difference]) -> None:
    for name, left, right, _ in changed:
        print(name)
        for mark, value in (("-", left), ("+", right)):
            _print_wrapped(f"  {mark} {'(not there)' if value is None else value}")


def _print_wrapped(line: str) -> None:
    print(textwrap.fill(line, 80, subsequent_indent="    ", break_on_hyphens=False))


def read(name: str) -> tuple[AnyExperiment, Path | None]:
    """The experiment of a file, a variant or a run; and the run, if it is one."""
    if ".py" in name and not Path(name).is_dir():
        return load(name).experiment, None
    run = find_run(given_path(name, "A run"))
    return read_experiment(run), run


def _compare_results(run_a: Path, run_b: Path) -> None:
    try:
        a, b = (read_result(run) for run in (run_a, run_b))
    except UserError as error:
        print(f"Results can't be compared: {error}", file=sys.stderr)
        return
    print("results")
    if a["policy"] != b["policy"]:
        print("  seen before each")
        _print_wrapped(f"  - {a['policy']}")
        _print_wrapped(f"  + {b['policy']}")
    texts = {a.get("text"), b.get("text")} - {None}
    if a["corpus"] == b["corpus"] and len(texts) > 1:
        _print_wrapped(f"  the text: {a['corpus']} had another content or split")
    points: list[tuple[str, At]] = [("", "end"), ("best ", "best")]
    rows = [
        (f"{name}{split} {score}".replace("_", " "), value, right[score])
        for name, at in points
        for split in ("validation", "test")
        for right in [find_scores(b, split, at)]
        for score, value in find_scores(a, split, at).items()
        if score in right and score != "tokens"
    ]
    rows += [
        ("parameters", a["parameters"], b["parameters"]),
        ("tokens", a["tokens"], b["tokens"]),
        ("tokens per second", a["tokens_per_second"], b["tokens_per_second"]),
    ]
    _print_columns("", rows)


def _print_columns(title: str, rows: list[tuple[str, Any, Any]]) -> None:
    """A line for each value: of both, and the difference."""
    if title:
        print(title)
    width = max(len(name) for name, _, _ in rows) + 1
    for name, left, right in rows:
        difference = right - left
        print(f"  {name:{width}}{left:>14,.6g}{right:>14,.6g}{difference:>+14,.6g}")
