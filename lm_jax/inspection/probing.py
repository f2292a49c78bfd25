"""How often a model finds the right sentence of a pair the likelier one."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from lm_jax.errors import UserError
from lm_jax.inspection.formulations import Formulation, encoded, formulation_of
from lm_jax.inspection.pairs import Pair, by_kind
from lm_jax.inspection.queries import Progress
from lm_jax.inspection.reading import score, score_shared
from lm_jax.runs.model import CountedModel, NeuralModel

LEVEL = 0.95  # how often an interval holds what it is of


class Share(NamedTuple):
    """How often the right sentence was the likelier one.

    Attributes:
        column: that tells of what kind a pair is; "" of all pairs.
        kind: in this column.
        pairs: how many.
        ties: how many of them have two sentences of one score; each counts half.
        share: of the pairs, 0 to 1.
        low, high: ends of the interval (Wilson 1927).
    """

    column: str
    kind: str
    pairs: int
    ties: int
    share: float
    low: float
    high: float


class Probed(NamedTuple):
    """What a model makes of pairs.

    Attributes:
        formulation: how sentences were scored.
        scores: log-probability of both sentences of each pair, in nats.
        whole: over all pairs.
        kinds: over those of each kind.
        unknown: how many pairs have something that the vocabulary lacks.
    """

    formulation: Formulation
    scores: Float[np.ndarray, "pairs 2"]
    whole: Share
    kinds: list[Share]
    unknown: int


def probe(
    model: NeuralModel | CountedModel,
    pairs: Sequence[Pair],
    formulation: Formulation | None = None,
    progress: Progress | None = None,
) -> Probed:
    """Score both sentences of each pair, and count where the right one is likelier.

    Args:
        model: of any family that predicts tokens.
        pairs: one or more.
        formulation: how sentences are scored; None is what suits the model.
        progress: told (description, done, total).

    Raises:
        UserError: the model predicts no tokens; a sentence has none for it.
    """
    formulation = formulation_of(model, formulation)
    unknown = sum(_lacks(model, pair) for pair in pairs)
    both = [(pair.good, pair.bad) for pair in pairs]
    if formulation == "shared":
        scores = np.array(score_shared(model, both, progress))
    else:
        texts = [text for pair in both for text in pair]
        scores = np.array(score(model, texts, formulation, progress)).reshape(-1, 2)
    right = credits(scores)
    kinds = [share(column, kind, right[n]) for column, kind, n in by_kind(pairs)]
    return Probed(formulation, scores, share("", "all", right), kinds, unknown)


def _lacks(model: NeuralModel | CountedModel, pair: Pair) -> bool:
    """Say whether the vocabulary lacks something of a pair, and <unk> is read.

    Raises:
        UserError: a sentence has no token; with the file and the line.
    """
    try:
        both = [encoded(model.tokenizer, text) for text in (pair.good, pair.bad)]
    except UserError as error:
        raise UserError(f"{pair.where}: {error}") from error
    lost = model.tokenizer.unknown_id
    return lost is not None and any(lost in ids for ids in both)


def credits(scores: Float[np.ndarray, "pairs 2"]) -> Float[np.ndarray, " pairs"]:
    """Give 1 where the first score is the higher, 0 where it is the lower, 1/2 else."""
    good, bad = scores.T
    return (good > bad) + 0.5 * (good == bad)


def share(column: str, kind: str, right: Float[np.ndarray, " pairs"]) -> Share:
    """Sum up the pairs of a kind, by what each counts."""
    low, high = wilson(float(right.sum()), len(right))
    ties = int((right == 0.5).sum())
    return Share(column, kind, len(right), ties, float(right.mean()), low, high)


def wilson(right: float, count: int) -> tuple[float, float]:
    """Give the interval of a share (Wilson 1927), also of half counts.

    Args:
        right: how many count, 0 to ``count``.
        count: how many there are.
    """
    from scipy.special import ndtri

    z = float(ndtri((1 + LEVEL) / 2))
    p, extent = right / count, z * z / count
    middle = p + extent / 2
    half = z * math.sqrt(p * (1 - p) / count + extent / (4 * count))
    low, high = ((middle + sign * half) / (1 + extent) for sign in (-1, 1))
    return max(0.0, low), min(1.0, high)
