"""What was found for queries: documents in the order of their scores."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int

from lm_jax.text import Judged


class Rankings(NamedTuple):
    """What was found for each query of a split, the best first.

    Attributes:
        judged: the collection.
        queries: ids of the queries.
        places: of the documents in the collection; -1 is none.
        scores: of them.
    """

    judged: Judged
    queries: Sequence[str]
    places: Int[np.ndarray, "queries depth"]
    scores: Float32[np.ndarray, "queries depth"]

    def by_query(self) -> dict[str, dict[str, float]]:
        """Give the score of each document that was found, by ids, the best first."""
        documents = self.judged.documents
        return {
            query: {
                documents[place].id: float(score)
                for place, score in zip(places, scores, strict=True)
                if place >= 0
            }
            for query, places, scores in zip(
                self.queries, self.places, self.scores, strict=True
            )
        }


def best_first(
    scores: Float32[np.ndarray, "queries documents"], depth: int
) -> tuple[Int[np.ndarray, "queries found"], Float32[np.ndarray, "queries found"]]:
    """Give the places of the largest scores, equal ones in their order, and these.

    Args:
        scores: of each document.
        depth: how many to give, at most.
    """
    order = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
    return order, np.take_along_axis(scores, order, axis=1)
