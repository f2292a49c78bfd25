"""How well questions are answered when their passages must be found first."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int

from lm_jax.bounds import SIZES, check, within
from lm_jax.counting import BM25
from lm_jax.counting.bm25 import library
from lm_jax.data.order import bucket_windows
from lm_jax.data.prepared import Prepared
from lm_jax.data.questions import Questions
from lm_jax.errors import UserError
from lm_jax.evaluation.answers import Script
from lm_jax.evaluation.fitted import Fitted, Found, Planned, Progress
from lm_jax.evaluation.rankings import best_first
from lm_jax.evaluation.span_scores import (
    NO_SPANS,
    Told,
    answered,
    over_windows,
    questions_of,
)

_BLOCK = 256  # Questions that are ranked at a time: bounds the memory.


@dataclass(frozen=True)
class OpenBook:
    """The scores of spans, where all passages of the split may answer each question.

    BM25 finds passages by the words of the question, and of all windows of these the
    best span answers, as `SpanScores` has it of the one passage that was asked about
    (Chen et al. 2017, "Reading Wikipedia to answer open-domain questions"). Beside
    them is recall: the share of the questions whose own passage is found. It needs the
    extra `retrieval`.

    Attributes:
        passages: that are read of each question, those found first.
        script: as of `SpanScores`.
        every: how often; None is whenever the watched evaluation is made.
    """

    passages: int = within(SIZES, 5)
    script: Script = "squad"
    every: str | None = None

    watched: ClassVar[str] = "f1"
    larger_is_better: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse a number of passages that is none."""
        check(self, "evaluation")

    def run(
        self, fitted: Fitted, split: str, progress: Progress | None = None
    ) -> Found:
        """Find passages for each question of a split, read them, and score.

        Raises:
            UserError: when no spans are told, or bm25s is missing.
        """

        def tell(split: str) -> Told:
            questions = questions_of(fitted, split)
            places = found_passages(questions, self.passages)
            read = questions.beside(places.tolist())
            reader: Any = fitted  # Whatever its family, it is a dataclass.
            beside = replace(reader, data=_read(fitted.data, read))
            return over_windows(read, beside.predictions(split, progress).found)

        found = answered(fitted, split, self.script, tell)
        questions = questions_of(fitted, split)
        places = found_passages(questions, self.passages)
        right = places == np.array([[passage] for passage, _ in questions.asked])
        for count in sorted({1, self.passages}):
            found.scores[f"recall@{count}"] = float(right[:, :count].any(1).mean())
        both = zip(found.lines, right.any(1).tolist(), strict=True)
        return found._replace(lines=tuple({**line, "found": f} for line, f in both))

    def unfit(self, planned: Planned) -> Iterator[str]:
        """Say why it can't be made."""
        if planned.tells != "start":
            yield NO_SPANS
        try:
            library()
        except UserError as error:
            yield str(error)


def found_passages(
    questions: Questions, count: int
) -> Int[np.ndarray, "questions found"]:
    """Give the numbers of the passages that BM25 finds for each question, best first.

    Its terms are words, but for capitals, and single Chinese characters.

    Args:
        questions: of a split.
        count: passages to find, at most.

    Raises:
        UserError: bm25s is not installed.
    """
    passages = [cut.words for cut in questions.cuts]
    asked = [cut.words for cut in questions.short]
    terms = 1 + max(int(words.max(initial=0)) for words in (*passages, *asked))
    fitted = BM25().fit(passages, terms)
    parts = (asked[k : k + _BLOCK] for k in range(0, len(asked), _BLOCK))
    return np.concatenate([best_first(fitted.scores(p), count)[0] for p in parts])


def _read(data: Prepared, questions: Questions) -> Prepared:
    """Put other windows in the place of those of a split."""
    assert data.buckets is not None, "Rows of questions have several lengths."
    lengths = tuple(sorted({*data.buckets.lengths, data.context}))
    made = questions.buckets(lengths)
    return replace(data, windows=lambda _, batch: bucket_windows(made, batch))
