"""List runs, and remove checkpoints that nothing goes by."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from lm_jax.commands.as_json import print_json
from lm_jax.commands.options import read_options
from lm_jax.errors import UserError
from lm_jax.runs.directory import runs_below
from lm_jax.runs.figures import size
from lm_jax.runs.listing import Listed, lines, listed
from lm_jax.streams import spelled


@dataclass(frozen=True)
class Options:
    """List the runs below a folder: state, step, last score, size on disk, age.

    "running": a process trains it now; "stopped": it was begun and has not ended;
    "given": it was imported, quantized or merged, not trained there; "age": since it
    was last written to. `runs prune [FOLDER]` removes checkpoints that
    nothing goes by: all but the best and the last of each run; it asks first.
    """

    folder: Annotated[Path, tyro.conf.Positional] = Path("runs")
    """Folder with runs."""
    json: bool = False
    """Print {"runs": [...]}: of each "run", "state", "step" and "budget", "score" (what
    was measured last) and its "value", "bytes", "age" in seconds, and "problem" (why it
    can't be read); null is what one lacks."""


@dataclass(frozen=True)
class Prune:
    """Remove checkpoints: all but the best and the last of each run below a folder.

    Says what would go and how much it frees, and asks. A run that is in use is left
    alone, and so is one in which something can't be read.
    """

    folder: Annotated[Path, tyro.conf.Positional] = Path("runs")
    """Folder with runs, or a run."""
    yes: bool = False
    """Don't ask."""


def main(args: list[str]) -> None:
    """Run the command."""
    if args[:1] == ["prune"]:
        _prune(read_options(Prune, "runs prune", args[1:]))
        return
    options = read_options(Options, "runs", args)
    runs = [listed(run) for run in _runs(options.folder)]
    if options.json:
        print_json({"runs": [_object(run) for run in runs]})
    else:
        here = shutil.get_terminal_size((80, 24)) if sys.stdout.isatty() else (80, 24)
        print("\n".join(lines(runs, max(here[0], 60))))
    for problem in filter(None, (run.problem for run in runs)):
        print(spelled(problem), file=sys.stderr)


def _runs(folder: Path) -> list[Path]:
    """The runs below a folder.

    Raises:
        UserError: there are none.
    """
    runs = runs_below(folder)
    if not runs:
        there = "is no folder" if not folder.is_dir() else "has no run below it"
        raise UserError(f"{folder} {there}: a run is what `train` wrote.")
    return runs


def _object(run: Listed) -> dict[str, Any]:
    """A run, for other programs."""
    name, value = run.score or (None, None)
    return {
        "run": run.path,
        "state": run.state,
        "step": run.step,
        "budget": run.budget,
        "score": name,
        "value": value,
        "bytes": run.bytes,
        "age": run.seconds,
        "problem": run.problem,
    }


def _prune(options: Prune) -> None:
    """Say what can go, ask, and remove it."""
    from lm_jax.runs.pruning import Spare, remove, spare

    found: list[Spare] = []
    for run in _runs(options.folder):
        try:
            found.append(spare(run))
        except UserError as error:
            print(f"Left alone: {spelled(error)}", file=sys.stderr)
    found = [each for each in found if each.steps or each.left]
    if not found:
        print("Nothing can go: no run has more than its best and its last checkpoint.")
        return
    for each in found:
        print(f"{spelled(each.run)}\n  {each.told}")
    total = size(sum(each.bytes for each in found))
    if not options.yes and not _agreed(f"Remove them for good, {total} in all?"):
        print("Nothing was removed.")
        return
    freed = 0
    for each in found:
        try:
            remove(each)
            freed += each.bytes
        except UserError as error:
            print(f"Left alone: {spelled(error)}", file=sys.stderr)
    print(f"Freed {size(freed)}.")


def _agreed(question: str) -> bool:
    """Ask; only a yes is one.

    Raises:
        UserError: nobody is there to answer.
    """
    if not sys.stdin.isatty():
        raise UserError(
            f"{question} Nobody is there to ask: add --yes. Nothing was removed."
        )
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
