"""Let a trained model continue a prompt."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lm_jax.commands.options import read_options
from lm_jax.commands.train import prompt_of
from lm_jax.generation import Sampling
from lm_jax.runs.directory import find_run
from lm_jax.runs.display import Display
from lm_jax.runs.model import load_model


@dataclass(frozen=True)
class Options:
    """Let a trained model continue one or more prompts of any length.

    The run's directory is all that is needed: no corpus, no cache.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Directory of the run."""
    prompt: tuple[str, ...] = ()
    """Text to continue, one or more; the prompt of the run's samples if not given.
    Where the training text is many documents, it begins one."""
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
    with Display(0, sys.stderr).waiting(f"reading {run}, and compiling"):
        model = load_model(run, options.step)
        prompts = options.prompt or (prompt_of(model.experiment),)
        texts = model.generate(prompts, options.length, options.sampling, options.seed)
    for index, text in enumerate(texts, 1):
        if len(texts) > 1:
            print(f"--- prompt {index} ---")
        print(text)
