"""What differs between two experiments or runs."""

import sys
import textwrap
from pathlib import Path

from lm_jax.errors import UserError
from lm_jax.experiment import AnyExperiment, Difference, differences, load
from lm_jax.experiment import read as read_experiment
from lm_jax.files import given_path
from lm_jax.platform import called
from lm_jax.runs.directory import find_run
from lm_jax.runs.result import At, find_scores, read_result

USAGE = """\
usage: ./launch.sh diff A B

Lists the fields in which two experiments differ. A and B are experiment files
(FILE.py or FILE.py:VARIANT) or directories of runs; of two runs that ended,
the results are compared too.

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
    if run_a and run_b:
        _compare_results(run_a, run_b)
    return 0


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
    width = max(len(name) for name, _, _ in rows) + 1
    for name, left, right in rows:
        difference = right - left
        print(f"  {name:{width}}{left:>14,.6g}{right:>14,.6g}{difference:>+14,.6g}")
