"""Documents that are ranked by counting, beside queries with judgements."""

from dataclasses import dataclass
from typing import ClassVar

from lm_jax.counting import BM25, FittedBM25
from lm_jax.data import Prepared
from lm_jax.errors import UserError
from lm_jax.evaluation.fitted import Planned, Progress
from lm_jax.evaluation.items import Items
from lm_jax.evaluation.predictions import Predictions
from lm_jax.evaluation.rankings import Rankings
from lm_jax.experiment import CountExperiment
from lm_jax.retrieval.terms import best_by_terms, terms_of
from lm_jax.runs.model import COUNTS, RANKS
from lm_jax.training.counted import UNCACHED, Counted


@dataclass(frozen=True)
class ScoredPassages(Counted):
    """A model that ranks documents by their terms, beside a test collection."""

    file: ClassVar[str] = RANKS

    @classmethod
    def check(cls, experiment: CountExperiment, data: Prepared) -> None:
        """Nothing is in the way that reading the collection has not refused."""

    @classmethod
    def fit(
        cls, experiment: CountExperiment, data: Prepared, progress: Progress
    ) -> FittedBM25:
        """Weigh the terms of all documents."""
        assert isinstance(experiment.model, BM25) and data.searchable is not None
        passages = [terms_of(data.tokenizer, p) for p in data.searchable.passages]
        return experiment.model.fit(passages, data.vocab_size)

    @classmethod
    def planned(cls, data: Prepared) -> Planned:
        """What is known of the scores before anything is counted."""
        return Planned(lambda: ("ndcg@10",), UNCACHED, COUNTS, ranks=True)

    @property
    def policy(self) -> str:
        """What the model sees of a text."""
        return "whole documents and queries, as terms without order"

    def rankings(
        self, split: str, depth: int, progress: Progress | None = None
    ) -> Rankings:
        """Find the best documents, at most so many, for each query of a split.

        A document that has no term of the query is not found.
        """
        self.data.evaluation(split, 1)  # refuses a split that isn't there
        searchable, fitted = self.data.searchable, self.loaded.fitted
        assert isinstance(fitted, FittedBM25) and searchable is not None
        queries = [terms_of(self.data.tokenizer, q) for q in searchable.queries[split]]
        judged = searchable.judged
        found = best_by_terms(fitted, queries, depth, progress)
        return Rankings(judged, list(judged.queries[split]), *found)

    def score(self, split: str, progress: Progress | None = None) -> dict[str, float]:
        """Refuse: there is no likelihood of a ranking.

        Raises:
            UserError: always.
        """
        raise UserError("BM25 ranks documents: its evaluation is Ranking().")

    def predictions(self, split: str, progress: Progress | None = None) -> Predictions:
        """Refuse: no text is told anything of.

        Raises:
            UserError: always.
        """
        raise UserError("BM25 ranks documents: `search --write` writes rankings.")

    def items(self, split: str, progress: Progress | None = None) -> Items:
        """Refuse: a ranking has no sums.

        Raises:
            UserError: always.
        """
        raise UserError("--items: rankings have no sums over items.")
