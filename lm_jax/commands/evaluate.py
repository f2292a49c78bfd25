"""Score a trained model on a whole split of its corpus."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import jax
import tyro

from lm_jax.runs.directory import find_run
from lm_jax.runs.display import Display
from lm_jax.training.loop import evaluate
from lm_jax.training.run import load_run
from lm_jax.training.step import make_evaluation_step


@dataclass(frozen=True)
class Options:
    """Score a trained model on a whole split: every token but the first, once.

    The split is cut into disjoint windows of the context that the model was
    trained with.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Directory of the run."""
    split: Literal["train", "validation", "test"] = "validation"
    """Look at "test" once, when the recipe is fixed."""
    step: int | None = None
    """Checkpoint to score; the best one if not given."""


def main(args: list[str]) -> None:
    """Run the command."""
    options = tyro.cli(Options, prog="./launch.sh evaluate", args=args)
    run = find_run(options.run)
    setup, params, step = load_run(run, options.step)
    score = jax.jit(make_evaluation_step(setup.model, setup.experiment.objective))
    display = Display(0)
    scores = evaluate(setup, score, params, options.split, display.work)
    display.close()
    rows = [
        (
            "tokens",
            f"{scores['tokens']:,} ({setup.data.splits[options.split].bytes:,} bytes)",
        ),
        ("windows", f"disjoint, of {setup.data.context} tokens"),
        ("nats per token", f"{scores['loss']:.6f}"),
        ("perplexity", f"{scores['perplexity']:.4f}"),
        ("bits per byte", f"{scores['bits_per_byte']:.6f}"),
    ]
    display.header(f"{run}, step {step}, {options.split} split", rows)
