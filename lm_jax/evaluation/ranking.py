"""How well the documents that answer a query are found among all others."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lm_jax.bounds import check
from lm_jax.errors import UserError
from lm_jax.evaluation.fitted import Fitted, Found, Planned, Progress
from lm_jax.platform import from_extra


@dataclass(frozen=True)
class Ranking:
    """Ranks of the documents that answer each query, among the whole collection.

    nDCG and recall at each cut, the reciprocal rank of the first answer (MRR) and mean
    average precision, as trec_eval has them (the library pytrec-eval-terrier). Gains
    are the grades, the ideal order that of the judgements, whatever was found. A query
    for which nothing is found counts 0.

    Equal scores stand in the order of the collection; trec_eval alone would order them
    by ids. A document whose id is the query's own is no answer and is left out where
    ``own`` is false.

    Attributes:
        cuts: ranks that nDCG and recall are taken at.
        depth: documents that are looked at of each query; MRR and MAP are of these.
        own: whether a document may have the id of its query (in BEIR's ArguAna and
            Quora it is the query itself).
        every: how often; None is whenever the watched evaluation is made.
    """

    cuts: tuple[int, ...] = (10, 100)
    depth: int = 1000
    own: bool = True
    every: str | None = None

    watched: ClassVar[str] = "ndcg@10"
    larger_is_better: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse cuts that lie below what is looked at."""
        check(self, "evaluation")
        if 10 not in self.cuts or min(self.cuts) < 1 or max(self.cuts) > self.depth:
            raise UserError(
                f"Ranking(cuts={self.cuts}, depth={self.depth}): cuts are from 1 to "
                "the depth, and 10 is among them, which runs are watched by."
            )

    def run(
        self, fitted: Fitted, split: str, progress: Progress | None = None
    ) -> Found:
        """Rank the whole collection for each query of a split.

        Raises:
            UserError: nothing is ranked; pytrec-eval-terrier is not installed.
        """
        found = fitted.rankings(split, self.depth + (not self.own), progress)
        ranked, grades = found.by_query(), found.judged.grades
        if not self.own:
            for query, of in ranked.items():
                of.pop(query, None)
                ranked[query] = dict(list(of.items())[: self.depth])
        asked = found.judged.queries[split]
        return Found(rank_scores(ranked, {q: grades[q] for q in asked}, self.cuts))

    def unfit(self, planned: Planned) -> Iterator[str]:
        """Say why it can't be made."""
        if not planned.ranks:
            yield NOT_RANKED


NOT_RANKED = (
    "Ranking is of documents that are found: train a BiEncoder by InfoNCE(), or count "
    "by BM25(), on Passages."
)


def rank_scores(
    ranked: Mapping[str, Mapping[str, float]],
    grades: Mapping[str, Mapping[str, int]],
    cuts: Sequence[int] = (10, 100),
) -> dict[str, float]:
    """Give the mean of each score over the judged queries.

    Args:
        ranked: of each query the documents that were found, the best first: their
            order counts, and not their scores.
        grades: of the judged documents of each query. One without a document above 0
            counts 0.
        cuts: ranks that nDCG and recall are taken at.

    Raises:
        UserError: pytrec-eval-terrier is not installed, or there is no query.
    """
    each = query_scores(ranked, grades, cuts)
    if not each:
        raise UserError("There is no query with a judgement to score rankings by.")
    names = next(iter(each.values()))
    return {name: float(np.mean([of[name] for of in each.values()])) for name in names}


def query_scores(
    ranked: Mapping[str, Mapping[str, float]],
    grades: Mapping[str, Mapping[str, int]],
    cuts: Sequence[int] = (10, 100),
) -> dict[str, dict[str, float]]:
    """Give the scores of each judged query; see `rank_scores`."""
    try:
        import pytrec_eval
    except ImportError as error:
        raise UserError(
            f"Ranking needs pytrec-eval-terrier: {from_extra('retrieval')}"
        ) from error
    at = ",".join(map(str, sorted(cuts)))
    measures = {f"ndcg_cut.{at}", f"recall.{at}", "recip_rank", "map"}
    # trec_eval breaks ties by the id, backwards: ranks are told instead.
    told = {
        query: {d: -float(rank) for rank, d in enumerate(ranked.get(query, ()))}
        for query in grades
    }
    asked = {query: dict(of) for query, of in grades.items()}
    made = pytrec_eval.RelevanceEvaluator(asked, measures).evaluate(told)
    names = {f"ndcg@{k}": f"ndcg_cut_{k}" for k in cuts} | {
        "mrr": "recip_rank",
        "map": "map",
    }
    names |= {f"recall@{k}": f"recall_{k}" for k in cuts}
    return {
        query: {name: made.get(query, {}).get(of, 0.0) for name, of in names.items()}
        for query in grades
    }
