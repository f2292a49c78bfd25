"""How well questions are answered by parts of their passages."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from lm_jax.bounds import check, within
from lm_jax.counting.sliding_window import common_words, window_answers
from lm_jax.data.questions import Questions
from lm_jax.errors import UserError
from lm_jax.evaluation.answers import Script, agreement, mean_scores
from lm_jax.evaluation.fitted import Fitted, Found, Planned, Progress


@dataclass(frozen=True)
class SpanScores:
    """Exact matches and F1 of answers, each question once however many its windows.

    The best span of all windows answers. Where questions of the training split have no
    answer, there is none where its log-probability, the least over the windows, is
    above that of the best span by more than a threshold: that which gives the largest
    F1 on "validation". So the scores of "validation" are the best of all thresholds,
    and those of "test" are not.

    Attributes:
        script: whose rules: "squad" (1.1, or 2.0 where questions lack answers), or
            "cmrc" for Chinese.
        every: how often; None is whenever the watched evaluation is made.
    """

    script: Script = "squad"
    every: str | None = None

    watched: ClassVar[str] = "f1"
    larger_is_better: ClassVar[bool] = True

    def run(
        self, fitted: Fitted, split: str, progress: Progress | None = None
    ) -> Found:
        """Score a whole split.

        Raises:
            UserError: when no spans are told.
        """

        def tell(split: str) -> Told:
            found = fitted.predictions(split, progress).found
            return over_windows(questions_of(fitted, split), found)

        return answered(fitted, split, self.script, tell)

    def unfit(self, planned: Planned) -> Iterator[str]:
        """Say why it can't be made."""
        if planned.tells != "start":
            yield NO_SPANS


@dataclass(frozen=True)
class SlidingWindow:
    """The scores of a baseline that learns nothing: words near those of the question.

    The sliding window of Rajpurkar et al. (2016, 4.1) on the same questions; see
    `lm_jax.counting.sliding_window`. It doesn't look at the model.

    Attributes:
        common: how many of the most frequent words no answer has.
        script: as of `SpanScores`.
        every: how often; None is whenever the watched evaluation is made.
    """

    common: int = within("[0, 2147483647]", 100)
    script: Script = "squad"
    every: str | None = None

    watched: ClassVar[str] = "f1"
    larger_is_better: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse a number of words that is none."""
        check(self, "evaluation")

    def run(
        self, fitted: Fitted, split: str, progress: Progress | None = None
    ) -> Found:
        """Score a whole split.

        Raises:
            UserError: when it has no questions.
        """
        questions = questions_of(fitted, split)
        words = common_words(questions_of(fitted, "train"), self.common)
        return scored(questions, window_answers(questions, words), self.script)

    def unfit(self, planned: Planned) -> Iterator[str]:
        """Say why it can't be made."""
        if planned.tells != "start":
            yield NO_SPANS


NO_SPANS = "The scores are of spans: train by FindSpan() on AnswerSpans."


class Told(NamedTuple):
    """What a model says of each question.

    Attributes:
        texts: the best span of all windows.
        none: by how much the log-probability of no answer is above that span's.
    """

    texts: list[str]
    none: Float[np.ndarray, " questions"]


def questions_of(fitted: Fitted, split: str) -> Questions:
    """Give the questions of a split.

    Raises:
        UserError: it has none.
    """
    if split not in fitted.data.questions:
        raise UserError(NO_SPANS)
    return fitted.data.questions[split]


def answered(
    fitted: Fitted, split: str, script: Script, tell: Callable[[str], Told]
) -> Found:
    """Score what a model answers, or that it doesn't; see `SpanScores`.

    Args:
        fitted: the model.
        split: whose questions.
        script: whose rules.
        tell: gives what the model says of each question of a split.

    Raises:
        UserError: there are no questions.
    """
    questions, threshold = questions_of(fitted, split), np.inf
    told = tell(split)
    if lacks_answers(questions_of(fitted, "train")):
        tuning = told if split == "validation" else tell("validation")
        held = questions_of(fitted, "validation")
        threshold = best_threshold(held, tuning, script)
    answers = [
        "" if none > threshold else text
        for text, none in zip(told.texts, told.none, strict=True)
    ]
    found = scored(questions, answers, script)
    if np.isfinite(threshold):
        found.scores["threshold"] = float(threshold)
    return found


def over_windows(questions: Questions, found: Float[np.ndarray, "windows 4"]) -> Told:
    """Make one prediction of all windows of each question.

    Args:
        questions: of the windows.
        found: of each window the log-probabilities of no answer and of the best span,
            and its first and last token.
    """
    groups = _groups(questions.question_of, len(questions.asked))
    texts, none = [], []
    for windows in groups:
        best = int(windows[found[windows, 1].argmax()])
        start, end = found[best, 2:].astype(int).tolist()
        # A window without a token of its passage has no span.
        is_span = np.isfinite(found[best, 1])
        texts.append(questions.text(best, start, end) if is_span else "")
        none.append(found[windows, 0].min() - found[best, 1])
    return Told(texts, np.array(none))


def _groups(
    question_of: Int[np.ndarray, " windows"], count: int
) -> list[Int[np.ndarray, " _"]]:
    """Give the windows of each question."""
    ends = np.searchsorted(question_of, np.arange(1, count))
    return np.split(np.arange(len(question_of)), ends)


def lacks_answers(questions: Questions) -> bool:
    """Say whether a question has no answer."""
    return any(not question.answers for _, question in questions.asked)


def best_threshold(questions: Questions, told: Told, script: Script) -> float:
    """Choose above which score there is no answer: where F1 is largest.

    Of those that are equally good, the largest, so that most questions are answered.
    """
    given = [[answer.text for answer in q.answers] for _, q in questions.asked]
    gains = np.array(
        [
            agreement(text, answers, script, True).f1
            - agreement("", answers, script, True).f1
            for text, answers in zip(told.texts, given, strict=True)
        ]
    )
    order = np.argsort(told.none, kind="stable")
    none = told.none[order]
    # Questions up to a score are answered: the sum of what that gains.
    total = np.concatenate([[0.0], np.cumsum(gains[order])])
    able = np.append(np.flatnonzero(np.diff(none, prepend=-np.inf)), len(none))
    best = able[np.flatnonzero(total[able] == total[able].max())[-1]]
    if best == len(none):
        return float(none[-1])
    return float(none[best - 1]) if best else float(np.nextafter(none[0], -np.inf))


def scored(questions: Questions, answers: list[str], script: Script) -> Found:
    """Score an answer to each question."""
    may_lack = lacks_answers(questions)
    lines, both = [], []
    for (passage, question), answer in zip(questions.asked, answers, strict=True):
        given = [each.text for each in question.answers]
        how = agreement(answer, given, script, may_lack)
        both.append(how)
        lines.append(
            {
                "id": question.id,
                "article": questions.passages[passage].article,
                "question": question.text,
                "prediction": answer,
                "answers": given,
                **how._asdict(),
            }
        )
    lacks = [not question.answers for _, question in questions.asked]
    return Found(mean_scores(both, lacks), lines=tuple(lines))
