"""A run becomes one whose weights have few bits."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lm_jax.adapting import Integers
from lm_jax.commands.options import read_options
from lm_jax.errors import UserError
from lm_jax.experiment import read
from lm_jax.platform import called
from lm_jax.runs.directory import find_run
from lm_jax.runs.display import Display
from lm_jax.runs.figures import size
from lm_jax.runs.quantizing import quantize_run
from lm_jax.training.fitting import check_finite, load_fitted, named_evaluation


@dataclass(frozen=True)
class Options:
    """Write a run again with weights of eight bits, or of four, and score both.

    Matrices become integers with a float32 scale for each output, and embeddings with
    one for each row; biases and norms stay. The new run has the parameters alone, and
    is read as the other: by `generate`, `evaluate`, `export` and `train ... --from`.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Directory of the run."""
    path: Annotated[str, tyro.conf.Positional] = ""
    """A new directory; if not given, one beside the run whose name says the type."""
    to: Integers = "int8"
    """Type of the integers. With int4 more is lost."""
    step: int | None = None
    """Checkpoint to take; the best one if not given."""


def main(args: list[str]) -> None:
    """Run the command."""
    options = read_options(Options, "quantize", args)
    run, display = find_run(options.run), Display(0)
    made = quantize_run(run, options.path, options.to, options.step)
    share = made.after / made.before
    sizes = f"{size(made.before)}, {size(made.after)} now ({share:.3f} of it)"
    rows = [("parameters", sizes), *_scores(run, made.run, made.step)]
    display.header(f"{made.run}: step {made.step} in {options.to}", rows)
    display.message(f"Next: {called()} evaluate {made.run}")


def _scores(run: Path, made: Path, step: int) -> list[tuple[str, str]]:
    """What both are scored on the text of the run, where that is at hand."""
    try:
        before, after = (_score(each, step) for each in (run, made))
    except UserError as error:
        return [("not scored", str(error))]
    rows = []
    for name, score in before.items():
        if name == "tokens":
            continue
        said = f"{score:.6f}, {after[name]:.6f} now"
        if score:  # of nothing there is no share
            said += f" ({(after[name] - score) / abs(score):+.3%})"
        rows.append((f"validation {name.replace('_', ' ')}", said))
    return rows


def _score(run: Path, step: int) -> dict[str, float]:
    fitted = load_fitted(run, step)
    found = named_evaluation(read(run), "").run(fitted, "validation")
    check_finite(found, step)
    return found.scores
