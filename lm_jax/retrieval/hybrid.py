"""One or two indexes of the same documents, searched together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jax.sharding import Mesh

from lm_jax.errors import UserError
from lm_jax.evaluation.ranking import rank_scores
from lm_jax.retrieval.fusion import fused
from lm_jax.retrieval.index import Index, Model, open_index
from lm_jax.runs.directory import find_run
from lm_jax.runs.model import load_model
from lm_jax.text import Judged

DEPTH = 1000
"""Documents of each query that rankings are fused and scored over."""
_WEIGHTS = np.linspace(0, 1, 21)


class Hit(NamedTuple):
    """A document that was found."""

    rank: int
    id: str
    score: float
    title: str
    text: str


class Tuned(NamedTuple):
    """A weight of the second index, and what it scored where it was chosen."""

    weight: float
    score: float
    queries: int


@dataclass(frozen=True)
class Searcher:
    """Indexes that are searched together.

    Attributes:
        indexes: one, or two of the same documents.
        models: of the run of each; None of an index of terms.
        mesh: devices that share the work.
    """

    indexes: Sequence[Index]
    models: Sequence[Model | None]
    mesh: Mesh
    _found: dict[tuple[str, ...], list[list[dict[int, float]]]] = field(
        default_factory=dict
    )

    def hits(
        self, queries: Sequence[str], depth: int, weight: float
    ) -> list[list[Hit]]:
        """Find the best documents of each query.

        Args:
            queries: texts.
            depth: how many to find, at most.
            weight: of the second index, where there is one.
        """
        first, made = self.indexes[0], []
        for scores in self._fused(queries, max(depth, DEPTH), weight):
            best = list(scores.items())[:depth]
            documents = [first.document(place) for place, _ in best]
            ranked = zip(documents, best, strict=True)
            made.append(
                [
                    Hit(rank, document.id, score, document.title, document.text)
                    for rank, (document, (_, score)) in enumerate(ranked, 1)
                ]
            )
        return made

    def ranked(
        self, queries: Mapping[str, str], weight: float
    ) -> dict[str, dict[str, float]]:
        """Give the documents of each query by their ids, the best first."""
        found = self._fused(list(queries.values()), DEPTH, weight)
        ids = self.indexes[0].ids
        return {
            query: {ids[place]: score for place, score in scores.items()}
            for query, scores in zip(queries, found, strict=True)
        }

    def judge(
        self, judged: Judged, split: str, weights: Sequence[float]
    ) -> dict[str, dict[str, float]]:
        """Score the queries of a split, with each weight.

        Raises:
            UserError: the collection has other documents than the index.
        """
        self._check(judged)
        queries = judged.queries[split]
        grades = {query: judged.grades[query] for query in queries}
        names = {self._name(weight): weight for weight in weights}
        return {
            name: rank_scores(self.ranked(queries, weight), grades)
            for name, weight in names.items()
        }

    def _name(self, weight: float) -> str:
        if len(self.indexes) == 1:
            return "scores"
        alone = {0.0: "the first alone", 1.0: "the second alone"}
        return alone.get(weight, f"weight {weight:g}")

    def _check(self, judged: Judged) -> None:
        ids, count = self.indexes[0].ids, len(judged.documents)
        if {*ids} != judged.place.keys():
            raise UserError(
                f"{self.indexes[0].folder} has {len(ids):,} documents, and the "
                f"collection {count:,} or others: a score is of all of them. Index the "
                "collection."
            )

    def _fused(
        self, queries: Sequence[str], depth: int, weight: float
    ) -> list[dict[int, float]]:
        key = (*queries, str(depth))
        if key not in self._found:
            both = zip(self.indexes, self.models, strict=True)
            self._found[key] = [
                _by_place(*index.search(queries, depth, self.mesh, model))
                for index, model in both
            ]
        found = self._found[key]
        if len(found) == 1:
            return found[0]
        return [fused(a, b, weight) for a, b in zip(*found, strict=True)]


def _by_place(places: np.ndarray, scores: np.ndarray) -> list[dict[int, float]]:
    rows = zip(places.tolist(), scores.tolist(), strict=True)
    return [
        {place: score for place, score in zip(*row, strict=True) if place >= 0}
        for row in rows
    ]


def open_searcher(
    folders: Sequence[Path], mesh: Mesh, run: Path | None = None
) -> Searcher:
    """Open indexes, and read the runs that built those of vectors.

    Args:
        folders: of one index, or of two.
        mesh: devices that share the work.
        run: where the run lies that built the index of vectors; None is as then.

    Raises:
        UserError: one can't be read, they are of other documents, or an index was
            built by another run; a run is given, and none built an index of vectors.
    """
    indexes = [open_index(folder) for folder in folders]
    if len({index.about["corpus_digest"] for index in indexes}) > 1:
        first, second = indexes
        raise UserError(
            f"{first.folder} and {second.folder} are indexes of other documents "
            f"({first.about['documents']:,} and {second.about['documents']:,}): "
            "rankings of the same ones can be fused. Index one corpus twice."
        )
    if run is not None and all(index.of_terms for index in indexes):
        raise UserError(
            f"{indexes[0].folder} is an index of terms, which no run is needed for: "
            "leave out --run."
        )
    models: list[Model | None] = []
    for index in indexes:
        if index.of_terms:
            models.append(None)
            continue
        where = find_run(run or Path(index.about["run"]))
        model = load_model(where, index.about["step"])
        index.check_run(model, where)
        models.append(model)
    return Searcher(indexes, models, mesh)


def tune(searcher: Searcher, judged: Judged, split: str) -> Tuned:
    """Choose the weight with the largest nDCG@10; of equal ones that nearest to 0.5.

    Args:
        searcher: of two indexes.
        judged: the collection.
        split: of queries that no model was trained on.
    """
    weights = sorted((float(round(w, 2)) for w in _WEIGHTS), key=lambda w: abs(w - 0.5))
    found = searcher.judge(judged, split, weights)
    scores = [of["ndcg@10"] for of in found.values()]
    best = int(np.argmax(scores))
    return Tuned(weights[best], scores[best], len(judged.queries[split]))
