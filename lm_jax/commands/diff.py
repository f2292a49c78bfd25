"""What differs between two experiments or runs."""

import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lm_jax.commands.as_json import print_json
from lm_jax.errors import UserError
from lm_jax.experiment import AnyExperiment, Experiment, differences, load
from lm_jax.experiment import read as read_experiment
from lm_jax.files import given_path
from lm_jax.platform import called
from lm_jax.runs.code import read_starts
from lm_jax.runs.directory import NOT_TRAINED, find_run, is_given
from lm_jax.runs.display import Display
from lm_jax.runs.environment import environment_differences
from lm_jax.runs.result import At, ended_result, find_scores, has_ended
from lm_jax.training.alike import (
    amounts,
    damages,
    kept_obstacles,
    obstacles,
    parameters,
    rates,
    resolved,
)

USAGE = """\
usage: ./launch.sh diff A B [--json]

Lists the fields in which two experiments differ, and what comes of it:
parameters, FLOPs, learning rates. A and B are experiment files (FILE.py or
FILE.py:VARIANT) or directories of runs. Of two runs, versions, flags and
results are compared too, and every file of data and checkpoints is read again.
At the end it says whether their scores can be compared, and if not, why.

  ./launch.sh diff experiments/gpt_shakespeare.py \\
      experiments/gpt_shakespeare.py:rotary

--json prints {"recipe", "execution", "notes", "resolved", "parameters",
"learning rate", "environment", "results", "obstacles"}: but for the last, which
has sentences, lists of {"name", "a", "b"} with null for what one side lacks."""

Values = list[tuple[str, Any, Any]]


@dataclass
class Found:
    """In what two experiments differ, part by part; see `_print_found`.

    Attributes:
        recipe, execution, notes: fields.
        resolved: amounts of both, alike ones too.
        parameters: that one lacks, or that have another shape.
        rates: learning rates at a few steps.
        environment: of two runs.
        results: scores and costs that both runs have.
        policy: what was seen before each token, where that differs.
        obstacles: why their scores can't be compared.
        asked: whether that is known.
        unknown: why what they resolve to is not, as where a text is gone.
    """

    recipe: Values = field(default_factory=list)
    execution: Values = field(default_factory=list)
    notes: Values = field(default_factory=list)
    resolved: Values = field(default_factory=list)
    parameters: Values = field(default_factory=list)
    rates: Values = field(default_factory=list)
    environment: Values = field(default_factory=list)
    results: Values = field(default_factory=list)
    policy: Values = field(default_factory=list)
    obstacles: list[str] = field(default_factory=list)
    asked: bool = True
    unknown: str = ""


def main(args: list[str]) -> int:
    """Run the command."""
    as_json = "--json" in args
    args = [arg for arg in args if arg != "--json"]
    if len(args) != 2:
        print(USAGE.replace("./launch.sh", called()))
        return 0 if args in (["-h"], ["--help"]) else 2
    found = _found(*(read(name) for name in args))
    if as_json:
        print_json(_object(found))
    else:
        _print_found(found)
    return 0


def _found(
    one: tuple[AnyExperiment, Path | None], other: tuple[AnyExperiment, Path | None]
) -> Found:
    (a, run_a), (b, run_b) = one, other
    found = Found()
    for each in differences(a, b):
        getattr(found, each.part).append(each[:3])
    # Of a note that one side lacks, the name is enough.
    names = {name for name, *_ in found.notes}
    found.notes = [e for e in found.notes if e[0].rpartition(".")[0] not in names]
    if not found.recipe and not (run_a and run_b):
        found.asked = False
        return found
    if isinstance(a, Experiment) and isinstance(b, Experiment):
        _compare_resolved(found, a, b)
    if run_a and run_b:
        _compare_runs(found, run_a, run_b)
        _compare_results(found, run_a, run_b)
    elif found.unknown:
        found.obstacles.append(f"not known: {found.unknown}")
    return found


def _compare_resolved(found: Found, a: Experiment, b: Experiment) -> None:
    """What two experiments resolve to."""
    aside = Display(0, sys.stderr)
    try:
        setups = resolved(a, aside.work), resolved(b, aside.work)
    except UserError as error:
        found.unknown = str(error)
        return
    finally:
        aside.close()
    found.resolved = amounts(*setups)
    found.parameters = [*parameters(*setups)]
    found.rates = [*rates(*setups)]
    found.obstacles += obstacles(*setups)


def _compare_runs(found: Found, run_a: Path, run_b: Path) -> None:
    """Where two runs were made otherwise."""
    starts = [(read_starts(run) or [{}])[-1] for run in (run_a, run_b)]
    found.environment = list(environment_differences(*starts))
    codes = [start.get("code", {}).get("sources") for start in starts]
    if codes[0] != codes[1]:
        told = f"they were made by other code: {codes[0]} and {codes[1]}"
        found.obstacles.append(told)
    for run in (run_a, run_b):
        if is_given(run):
            found.obstacles.append(f"{run} {NOT_TRAINED}")
        else:
            found.obstacles += _unended(run)
        found.obstacles += damages(run)


def _unended(run: Path) -> list[str]:
    """Say that a run hasn't ended, or that its result can't be read."""
    try:
        return [] if has_ended(run) else [f"{run} has not ended"]
    except UserError as error:
        return [str(error)]


def _compare_results(found: Found, run_a: Path, run_b: Path) -> None:
    """The scores that both runs have."""
    try:
        a, b = (ended_result(run) for run in (run_a, run_b))
    except UserError as error:
        print(f"Results can't be compared: {error}", file=sys.stderr)
        return
    if a["policy"] != b["policy"]:
        found.policy.append(("seen before each", a["policy"], b["policy"]))
    texts = {a.get("text"), b.get("text")} - {None}
    if a["corpus"] == b["corpus"] and len(texts) > 1:
        told = f"the text: {a['corpus']} had another content or split"
        found.obstacles.append(told)
    if found.unknown:
        told = f"Compared by what the runs keep: {found.unknown}"
        Display(0, sys.stderr).message(told)
        found.obstacles += kept_obstacles((run_a, run_b), (a, b))
    points: list[tuple[str, At]] = [("", "end"), ("best ", "best")]
    found.results = [
        (f"{name}{split} {score}".replace("_", " "), value, right[score])
        for name, at in points
        for split in ("validation", "test")
        for right in [find_scores(b, split, at)]
        for score, value in find_scores(a, split, at).items()
        if score in right and score != "tokens"
    ]
    found.results += [
        (name.replace("_", " "), a[name], b[name])
        for name in ("parameters", "tokens", "tokens_per_second")
    ]


def read(name: str) -> tuple[AnyExperiment, Path | None]:
    """The experiment of a file, a variant or a run; and the run, if it is one."""
    if ".py" in name and not Path(name).is_dir():
        return load(name).experiment, None
    run = find_run(given_path(name, "A run"))
    return read_experiment(run), run


def _object(found: Found) -> dict[str, Any]:
    """All of it, for other programs."""

    def values(rows: Values) -> list[dict[str, Any]]:
        return [dict(zip(("name", "a", "b"), row, strict=True)) for row in rows]

    return {
        "recipe": values(found.recipe),
        "execution": values(found.execution),
        "notes": values(found.notes),
        "resolved": values(found.resolved),
        "parameters": values(found.parameters),
        "learning rate": values(found.rates),
        "environment": values(found.environment),
        "results": values(found.policy + found.results),
        "obstacles": found.obstacles,
    }


def _print_found(found: Found) -> None:
    _print("", found.recipe)
    if not found.recipe:
        equal = not (found.execution or found.notes)
        print(f"The {'experiments' if equal else 'recipes'} are equal.")
    _print("execution, which decides no number", found.execution)
    _print("notes, which decide no number", found.notes)
    if not found.asked:
        return
    _print_columns("resolved", found.resolved)
    _print("parameters", found.parameters)
    _print("learning rate", found.rates)
    _print("environment, where they were last started", found.environment)
    _print("results", found.policy)
    _print_columns("" if found.policy else "results", found.results)
    if not found.obstacles:
        print("The scores of the two can be compared.")
        return
    print("The scores of the two can't be compared:")
    for obstacle in found.obstacles:
        _print_wrapped(f"  {obstacle}")


def _print(title: str, rows: Values) -> None:
    if title and rows:
        print(title)
    for name, left, right in rows:
        print(name)
        for mark, value in (("-", left), ("+", right)):
            _print_wrapped(f"  {mark} {'(not there)' if value is None else value}")


def _print_wrapped(line: str) -> None:
    print(textwrap.fill(line, 80, subsequent_indent="    ", break_on_hyphens=False))


def _print_columns(title: str, rows: Values) -> None:
    """A line for each value: of both, and the difference."""
    if title and rows:
        print(title)
    width = max((len(name) for name, _, _ in rows), default=0) + 1
    for name, left, right in rows:
        difference = right - left
        print(f"  {name:{width}}{left:>14,.6g}{right:>14,.6g}{difference:>+14,.6g}")
