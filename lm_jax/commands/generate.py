"""Let a trained model continue a prompt."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from lm_jax.commands.options import read_options
from lm_jax.experiment import Experiment
from lm_jax.fitted import load_fitted
from lm_jax.generation import Sampling
from lm_jax.runs.claim import read_experiment
from lm_jax.runs.directory import find_run
from lm_jax.training.run import check_writes


@dataclass(frozen=True)
class Options:
    """Let a trained model continue one or more prompts of any length."""

    run: Annotated[Path, tyro.conf.Positional]
    """Directory of the run."""
    prompt: tuple[str, ...] = ()
    """Text to continue, one or more; the prompt of the run's samples if not given."""
    length: int = 500
    """Tokens to generate for each prompt."""
    sampling: Annotated[Sampling, tyro.conf.arg(name="")] = Sampling(temperature=0.8)
    """How each token is drawn."""
    seed: int = 0
    """Another seed draws another text."""
    step: int | None = None
    """Checkpoint to use; the best one if not given."""


def main(args: list[str]) -> None:
    """Run the command."""
    options = read_options(Options, "generate", args)
    run = find_run(options.run)
    experiment = read_experiment(run)
    if isinstance(experiment, Experiment):
        check_writes(experiment)
    _, fitted = load_fitted(run, options.step)
    tokenizer = fitted.data.tokenizer
    texts = options.prompt or (experiment.sample.prompt,)
    prompts = [tokenizer.encode(text) for text in texts]
    new = fitted.generate(prompts, options.length, options.sampling, options.seed)
    for index, (prompt, row) in enumerate(zip(prompts, new, strict=True)):
        if len(prompts) > 1:
            print(f"--- prompt {index + 1} ---")
        print(tokenizer.decode(np.concatenate([prompt, row])))
