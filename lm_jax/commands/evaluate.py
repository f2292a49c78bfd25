"""Score a trained model on a whole split of its corpus."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lm_jax.commands.options import read_options
from lm_jax.errors import UserError
from lm_jax.evaluation.neural_cache import NeuralCache
from lm_jax.fitted import Fitted, load_fitted
from lm_jax.runs.directory import find_run
from lm_jax.runs.display import Display
from lm_jax.runs.result import read_result, record_score
from lm_jax.training.run import Trained


@dataclass(frozen=True)
class Options:
    """Score a trained model on a whole split: every token but the first, once.

    What the model sees before each token is said. The scores of the best and of
    the last checkpoint are added to result.json, where `table` finds them.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Directory of the run."""
    split: Literal["train", "validation", "test"] = "validation"
    """Look at "test" once, when the recipe is fixed."""
    step: int | None = None
    """Checkpoint to score; the best one if not given."""
    cache: int = 0
    """Words that a neural cache remembers, where a model carries its state."""
    cache_theta: float = NeuralCache().theta
    """How much more alike features count in the cache."""
    cache_weight: float = NeuralCache().weight
    """Share of the cache in the probabilities. Choose both on "validation"."""


def _record(options: Options, run: Path, scores: dict[str, float]) -> None:
    """Add scores to the run's result: those of the best and of the last step."""
    if options.step is None:
        record_score(run, f"best_{options.split}", scores)
    elif options.step == read_result(run)["steps"]:
        record_score(run, options.split, scores)


def _score_with_cache(
    options: Options, fitted: Fitted, display: Display
) -> dict[str, float]:
    if not isinstance(fitted, Trained):
        raise UserError("--cache needs a trained model: this one was counted.")
    cache = NeuralCache(options.cache, options.cache_theta, options.cache_weight)
    return fitted.score_with_cache(options.split, cache, display.work)


def main(args: list[str]) -> None:
    """Run the command."""
    options = read_options(Options, "evaluate", args)
    run = find_run(options.run)
    experiment, fitted = load_fitted(run, options.step)
    display = Display(0)
    if options.cache:
        scores = _score_with_cache(options, fitted, display)
    else:
        scores = fitted.score(options.split, display.work)
    display.close()
    size = fitted.data.splits[options.split].bytes
    tokens = f"{scores['tokens']:,} tokens of " if "tokens" in scores else ""
    rows = [("scored", f"{tokens}{size:,} bytes")]
    cached = f", and a cache of {options.cache} words" if options.cache else ""
    rows.append(("seen before each", fitted.policy + cached))
    names = {"loss": "nats per token"} if "bits_per_byte" in scores else {}
    rows += [
        (names.get(name, name.replace("_", " ")), f"{value:.6f}")
        for name, value in scores.items()
        if name != "tokens"
    ]
    published = experiment.published
    if published and published.split == options.split:
        name = published.score.replace("_", " ")
        rows.append(("published", f"{name} {published.value} ({published.source})"))
    display.header(f"{run}, step {fitted.step}, {options.split} split", rows)
    if not options.cache and (run / "result.json").exists():
        _record(options, run, scores)
