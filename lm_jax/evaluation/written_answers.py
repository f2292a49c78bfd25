"""How well questions are answered by what is written, and not by parts of a passage."""

from dataclasses import dataclass
from typing import ClassVar

from lm_jax.evaluation.answers import Script, agreement, mean_scores
from lm_jax.evaluation.fitted import Fitted, Found, Progress
from lm_jax.evaluation.writing import Writes, by_source, pairs_of


@dataclass(frozen=True)
class WrittenAnswers(Writes):
    """Exact matches and F1 of what is written of each question, as `SpanScores` has.

    Pairs of one source are one question, and its targets all people's answers: that
    with which what is written agrees best counts. A target without a character is no
    answer; nothing written agrees with it.

    Attributes:
        script: whose rules: "squad" (1.1, or 2.0 where questions lack answers), or
            "cmrc" for Chinese.
    """

    script: Script = "squad"

    watched: ClassVar[str] = "f1"

    def run(
        self, fitted: Fitted, split: str, progress: Progress | None = None
    ) -> Found:
        """Write an answer to each question of a split, and compare.

        Raises:
            UserError: when there are no pairs of texts.
        """
        sources, answers = by_source(pairs_of(fitted, split, "WrittenAnswers"))
        texts = self.texts(fitted, sources, progress)
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
