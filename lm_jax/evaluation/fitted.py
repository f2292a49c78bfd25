"""What an evaluation needs of a model, whatever its family."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from lm_jax.data import Prepared
from lm_jax.evaluation.items import Items
from lm_jax.evaluation.predictions import Predictions
from lm_jax.evaluation.rankings import Rankings
from lm_jax.generation import Beam, Sampling

Progress = Callable[[str, int, int], None]
"""Told a description, what is done and what there is in all."""


class Found(NamedTuple):
    """What an evaluation found.

    Attributes:
        scores: numbers by name.
        texts: for people to read.
        more: what else result.json says beside the scores, by name.
        lines: what is said of each example, for a file of predictions.
    """

    scores: dict[str, float]
    texts: tuple[str, ...] = ()
    more: Mapping[str, Any] = {}
    lines: tuple[Mapping[str, Any], ...] = ()


class Planned(NamedTuple):
    """What an evaluation can know before anything is fitted.

    Attributes:
        scores: gives the names of what the objective gives of a split.
        uncached: why nothing that was read can be remembered; None where it can.
        unvectored: why the model has no vectors of tokens; None where it has.
        tells: the field that is told of each example; "" where there is none.
        ranks: whether documents are ranked by queries.
        pairs: whether texts are written of others.
        labels: what is told apart, by name.
    """

    scores: Callable[[], Iterable[str]]
    uncached: str | None
    unvectored: str | None
    tells: str = ""
    ranks: bool = False
    pairs: bool = False
    labels: tuple[str, ...] = ()


@runtime_checkable
class Fitted(Protocol):
    """What every family offers once it is fitted.

    Attributes:
        data: the corpus that it was fitted to.
        step: of the checkpoint; 1 of a model that counts.
        policy: what the model sees before a token that it is scored on.
        writes: whether it continues text.
        seed: of its experiment.
    """

    @property
    def data(self) -> Prepared: ...  # noqa: D102
    @property
    def step(self) -> int: ...  # noqa: D102
    @property
    def policy(self) -> str: ...  # noqa: D102
    @property
    def writes(self) -> bool: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102

    def score(self, split: str, progress: Progress | None = None) -> dict[str, float]:
        """Score a whole split; "loss" is one of the scores."""

    def items(self, split: str, progress: Progress | None = None) -> Items:
        """Score each row of a split alone.

        Raises:
            UserError: where rows continue each other.
        """

    def predictions(self, split: str, progress: Progress | None = None) -> Predictions:
        """Give what is said of each example of a split.

        Raises:
            UserError: where nothing is told of an example by itself.
        """

    def rankings(
        self, split: str, depth: int, progress: Progress | None = None
    ) -> Rankings:
        """Find the best documents, at most so many, for each query of a split.

        Raises:
            UserError: where nothing is ranked.
        """

    def score_with_cache(
        self,
        split: str,
        cache: Any,
        progress: Progress | None = None,
    ) -> dict[str, float]:
        """Score a whole split with a `NeuralCache` of the words before.

        Raises:
            UserError: where there are no features to remember.
        """

    def generate(
        self,
        prompts: list[np.ndarray],
        length: int,
        sampling: Sampling,
        seed: int,
        beam: Beam | None = None,
        to_end: bool = False,
    ) -> Sequence[np.ndarray] | np.ndarray:
        """Continue prompts of (tokens,): new tokens of each.

        With ``to_end`` each ends where a document does. A model of sources reads the
        prompts, and always writes until its end.
        """

    def vectors(self) -> tuple[list[str], Float32[np.ndarray, "words width"]]:
        """Give the words that have a vector, and the vectors.

        Raises:
            UserError: where there are none.
        """
