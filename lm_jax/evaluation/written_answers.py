"""How well questions are answered by what is written, and not by parts of a passage."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from lm_jax.bounds import SIZES, check, within
from lm_jax.errors import UserError
from lm_jax.evaluation.answers import Script, agreement, mean_scores
from lm_jax.evaluation.fitted import Fitted, Found, Planned, Progress
from lm_jax.evaluation.writing import by_source, write_texts
from lm_jax.generation import Beam


@dataclass(frozen=True)
class WrittenAnswers:
    """Exact matches and F1 of what is written of each question, as `SpanScores` has.

    Pairs of one source are one question, and its targets all people's answers: that
    with which what is written agrees best counts. A target without a character is no
    answer; nothing written agrees with it.

    Attributes:
        script: whose rules: "squad" (1.1, or 2.0 where questions lack answers), or
            "cmrc" for Chinese.
        beam: a search for each answer; None takes the likeliest token at each step.
        length: tokens of an answer, at most.
        rows: answers that are written at once.
        every: how often; None is whenever the watched evaluation is made.
    """

    script: Script = "squad"
    beam: Beam | None = None
    length: int = within(SIZES, 32)
    rows: int = within(SIZES, 32)
    every: str | None = None

    watched: ClassVar[str] = "f1"
    larger_is_better: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse numbers outside their interval, and a beam that can't be."""
        check(self, "evaluation")
        if self.beam is not None:
            self.beam.check(2)

    def run(
        self, fitted: Fitted, split: str, progress: Progress | None = None
    ) -> Found:
        """Write an answer to each question of a split, and compare.

        Raises:
            UserError: when there are no pairs of texts.
        """
        if fitted.data.pairs is None:
            raise UserError(_NO_PAIRS)
        sources, answers = by_source(fitted.data.pairs(split))
        texts = write_texts(
            fitted, sources, self.length, self.rows, beam=self.beam, progress=progress
        )
        lacks = [not any(given) for given in answers]
        each = [
            agreement(text, [*filter(None, given)], self.script, any(lacks))
            for text, given in zip(texts, answers, strict=True)
        ]
        rows = list(zip(sources, texts, answers, each, strict=True))
        shown = [f"{s}\n-> {t}\n   ({' / '.join(g)})" for s, t, g, _ in rows[:3]]
        lines = [
            {"source": str(s), "prediction": t, "answers": g, **how._asdict()}
            for s, t, g, how in rows
        ]
        return Found(mean_scores(each, lacks), tuple(shown), lines=tuple(lines))

    def unfit(self, planned: Planned) -> Iterator[str]:
        """Say why it can't be made."""
        if not planned.pairs:
            yield _NO_PAIRS


_NO_PAIRS = (
    "WrittenAnswers are of texts that are written of questions: train by Seq2Seq() on "
    "TextPairs, or by NextToken() on Answers."
)
