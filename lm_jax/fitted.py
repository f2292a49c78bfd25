"""A fitted model of any family, read back from its run."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from lm_jax.counting.run import load_count
from lm_jax.data import Prepared
from lm_jax.errors import UserError
from lm_jax.experiment import AnyExperiment, CountExperiment
from lm_jax.generation import Sampling
from lm_jax.runs.claim import read_experiment
from lm_jax.training.run import load_run


@runtime_checkable
class Fitted(Protocol):
    """What every family offers once it is fitted.

    Attributes:
        data: the corpus that it was fitted to.
        step: of the checkpoint; 1 of a model that counts.
        policy: what the model sees before a token that it is scored on.
    """

    @property
    def data(self) -> Prepared: ...  # noqa: D102
    @property
    def step(self) -> int: ...  # noqa: D102
    @property
    def policy(self) -> str: ...  # noqa: D102

    def score(
        self, split: str, progress: Callable[[str, int, int], None] | None = None
    ) -> dict[str, float]:
        """Score a whole split; "loss" is one of the scores."""

    def generate(
        self, prompts: list[np.ndarray], length: int, sampling: Sampling, seed: int
    ) -> np.ndarray:
        """Continue prompts of (tokens,): new tokens (batch, length)."""


def load_fitted(run: Path, step: int | None = None) -> tuple[AnyExperiment, Fitted]:
    """Read the experiment and the fitted model of a run.

    Args:
        run: its directory.
        step: of the checkpoint; None takes the best one.

    Raises:
        UserError: when it can't be read.
    """
    experiment = read_experiment(run)
    if isinstance(experiment, CountExperiment):
        if step not in (None, 1):
            raise UserError(
                f"{run} was fitted by counting and has no checkpoints: leave --step "
                "out."
            )
        return experiment, load_count(experiment, run)
    return experiment, load_run(experiment, run, step)
