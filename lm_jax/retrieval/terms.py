"""Documents that share the most telling terms with a query."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int

from lm_jax.counting import FittedBM25
from lm_jax.evaluation.rankings import best_first
from lm_jax.retrieval.nearest import Found
from lm_jax.tokenizers import Trained

_BLOCK = 256  # Queries that are scored at a time: bounds the memory.


def terms_of(
    tokenizer: Trained, ids: Int[np.ndarray, " _"]
) -> Int[np.ndarray, " terms"]:
    """Leave out what is no term: <unk>, and what ends documents or stands around."""
    left = [i for i in (tokenizer.end_id, tokenizer.unknown_id) if i is not None]
    if (around := tokenizer.around) is not None:
        left += [*around.first, around.end]
    return ids[~np.isin(ids, left)]


def best_by_terms(
    fitted: FittedBM25,
    queries: Sequence[Int[np.ndarray, " _"]],
    depth: int,
    progress: Callable[[str, int, int], None] | None = None,
) -> Found:
    """Find the documents with the largest scores; -1 where there is none above 0.

    Args:
        fitted: the weights.
        queries: terms of each.
        depth: how many to find, at most.
        progress: told (description, queries done, queries in all).
    """
    told = progress or (lambda *_: None)
    found = []
    for first in range(0, len(queries), _BLOCK):
        told("ranking", first, len(queries))
        scores = fitted.scores(list(queries[first : first + _BLOCK]))
        places, best = best_first(scores, depth)
        found.append((np.where(best > 0, places, -1), best))
    told("ranking", len(queries), len(queries))
    both, of = zip(*found, strict=True)
    return np.concatenate(both), np.concatenate(of)
