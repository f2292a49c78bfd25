"""What all models that count are to an evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32

from lm_jax.data import Prepared
from lm_jax.errors import UserError
from lm_jax.evaluation.fitted import Progress
from lm_jax.evaluation.ranking import NOT_RANKED
from lm_jax.evaluation.rankings import Rankings
from lm_jax.generation import Beam, Sampling
from lm_jax.runs.model import CountedModel

UNCACHED = "A cache needs a trained model: this one was counted."


@dataclass(frozen=True)
class Counted:
    """A model that counts, beside its text; see `Fitted`.

    Attributes:
        loaded: the model.
        data: the text.
    """

    loaded: CountedModel
    data: Prepared

    @property
    def writes(self) -> bool:
        """Whether the model continues text."""
        return self.loaded.writes

    @property
    def step(self) -> int:
        """There is one."""
        return 1

    @property
    def seed(self) -> int:
        """Of the experiment."""
        return self.loaded.experiment.seed

    def score_with_cache(
        self, split: str, cache: Any, progress: Progress | None = None
    ) -> dict[str, float]:
        """Refuse: counts have no features to remember.

        Raises:
            UserError: always.
        """
        raise UserError(UNCACHED)

    def rankings(
        self, split: str, depth: int, progress: Progress | None = None
    ) -> Rankings:
        """Refuse: no documents are ranked.

        Raises:
            UserError: always.
        """
        raise UserError(NOT_RANKED)

    def generate(
        self,
        prompts: list[np.ndarray],
        length: int,
        sampling: Sampling,
        seed: int,
        beam: Beam | None = None,
        to_end: bool = False,
    ) -> Sequence[np.ndarray] | np.ndarray:
        """Continue prompts of (tokens,): new tokens of each."""
        return self.loaded.generate_ids(prompts, length, sampling, seed, beam, to_end)

    def vectors(self) -> tuple[list[str], Float32[np.ndarray, "words width"]]:
        """Refuse: counts are no vectors."""
        return self.loaded.vectors()
