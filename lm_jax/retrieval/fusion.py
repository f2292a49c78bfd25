"""Two rankings become one."""

from collections.abc import Mapping
from typing import TypeVar

Document = TypeVar("Document", str, int)
"""A document's id, or its place in an index."""


def fused(
    first: Mapping[Document, float],
    second: Mapping[Document, float],
    weight: float,
    k: int = 60,
) -> dict[Document, float]:
    """Fuse two rankings by reciprocal ranks (Cormack et al. 2009), weighed.

    A document scores (1 - weight) / (k + its rank in the first) + weight / (k + its
    rank in the second), ranks from 1; where a ranking lacks it, that part is 0. Equal
    ones stand in the order of the first ranking, then of the second.

    Args:
        first, second: scores of the documents that were found, the best first: only
            the order counts.
        weight: of the second, from 0 to 1; 0.5 is the paper's, but for a factor.
        k: how little the first ranks stand out.
    """
    scores: dict[Document, float] = {}
    for share, ranking in ((1 - weight, first), (weight, second)):
        for rank, document in enumerate(ranking if share else (), 1):
            scores[document] = scores.get(document, 0.0) + share / (k + rank)
    return dict(sorted(scores.items(), key=lambda item: -item[1]))
