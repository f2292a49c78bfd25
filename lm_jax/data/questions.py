"""Windows of passages, each with a question: which tokens answer it."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int64

from lm_jax.data.order import Buckets, sort_by_length
from lm_jax.data.pieces import Cut
from lm_jax.data.windows import Row
from lm_jax.text.squad import Passage, Question


class Window(NamedTuple):
    """A question beside the tokens of its passage from one to before another."""

    question: int
    passage: int
    first: int
    end: int


@dataclass(frozen=True)
class Questions:
    """The questions of a split, and the rows that they are read in.

    Attributes:
        passages: with their questions.
        asked: each question, and the number of its passage.
        windows: a row each; those of a question follow each other.
        cuts: of each passage.
        short: tokens of each question, those beyond the longest cut off.
        answers: first and last token of each question's answer in its passage; -1
            where it has none, -2 where that is not known.
        marks: ids of what stands before a question, after it, and after a passage
            where something does.
        longest: tokens of a row at most.
        stride: tokens between the starts of two windows.
    """

    passages: tuple[Passage, ...]
    asked: tuple[tuple[int, Question], ...]
    windows: tuple[Window, ...]
    cuts: tuple[Cut, ...]
    short: tuple[Cut, ...]
    answers: Int64[np.ndarray, "questions 2"]
    marks: tuple[int, ...]
    longest: int
    stride: int

    def beside(self, passages: Sequence[Sequence[int]]) -> "Questions":
        """Read each question beside other passages, where its answer is not known.

        Args:
            passages: of each question, the numbers of those that it is asked of.
        """
        windows = tuple(
            Window(number, passage, first, stop)
            for number, chosen in enumerate(passages)
            for passage in chosen
            for first, stop in windows_of(
                len(self.cuts[passage].ids),
                self.longest - len(self.marks) - len(self.short[number].ids),
                self.stride,
            )
        )
        return replace(self, windows=windows, answers=np.full_like(self.answers, -2))

    @property
    def question_of(self) -> Int[np.ndarray, " windows"]:
        """The number of the question of each window."""
        return np.array([window.question for window in self.windows])

    def text(self, window: int, start: int, end: int) -> str:
        """Cut the characters of some tokens of a row out of the untouched passage.

        Args:
            window: number of the row.
            start, end: first and last token in the row; 0 is no answer.
        """
        row = self.windows[window]
        before = row.first - self._before(row)
        if min(start, end) + before < row.first:
            return ""
        begin, stop = self.cuts[row.passage].characters(start + before, end + before)
        return self.passages[row.passage].text[begin:stop]

    def buckets(self, lengths: tuple[int, ...]) -> Buckets:
        """Sort the rows by the lengths that they fit."""
        around = [
            len(self.marks) + len(self.short[w.question].ids) for w in self.windows
        ]
        sizes = np.array(around) + [w.end - w.first for w in self.windows]
        return sort_by_length(sizes, lengths, self.row)

    def row(self, number: int, length: int) -> Row:
        """Give the arrays of a row, padded by zeros.

        An answer that isn't whole in the window is none: the first token. "segments"
        are 1 up to the mark after the question, 2 in the passage, 3 after it.
        """
        window = self.windows[number]
        cut, before = self.cuts[window.passage], self._before(window)
        question, (mark, end, *after) = self.short[window.question], self.marks
        part = slice(window.first, window.end)
        ids = np.concatenate([[mark], question.ids, [end], cut.ids[part], after])
        told = np.isin(cut.words[cut.pieces[part]], question.words)
        first, last = self.answers[window.question]
        inside = window.first <= first and last < window.end
        places = np.array([first, last]) - window.first + before if inside else [0, 0]
        missing = length - len(ids)
        kinds = before, len(told), len(after), missing
        segments = np.repeat([1, 2, 3, 0], kinds)
        matches = np.pad(told, (before, len(after) + missing))
        return {
            "inputs": np.pad(ids, (0, missing)).astype(np.int32),
            "segments": segments.astype(np.int32),
            "matches": matches.astype(np.int32),
            "start": np.array(places[0], np.int32),
            "end": np.array(places[1], np.int32),
            "mask": np.array(first != -2, np.float32),
        }

    def _before(self, window: Window) -> int:
        """The tokens of a row before those of its passage."""
        return len(self.short[window.question].ids) + 2


def ask(
    passages: Iterable[Passage],
    cut: Callable[[str], Cut],
    marks: tuple[int, ...],
    longest: int,
    question: int,
    stride: int,
) -> Questions:
    """Cut the questions of a split into rows.

    Args:
        passages: with their questions.
        cut: gives the tokens of a text.
        marks: as of `Questions`.
        longest: tokens of a row at most.
        question: tokens of a question at most.
        stride: tokens between the starts of two windows.
    """
    kept = tuple(passages)
    asked = tuple((k, q) for k, passage in enumerate(kept) for q in passage.questions)
    cuts = tuple(cut(passage.text) for passage in kept)
    short = tuple(shortened(cut(q.text), question) for _, q in asked)
    answers = [answer_of(q, cuts[passage]) for passage, q in asked]
    told = np.array(answers, np.int64).reshape(-1, 2)
    whole = Questions(kept, asked, (), cuts, short, told, marks, longest, stride)
    return replace(whole.beside([[passage] for passage, _ in asked]), answers=told)


def shortened(question: Cut, longest: int) -> Cut:
    """Cut a question's tokens off after the longest; its words stay."""
    return question._replace(
        ids=question.ids[:longest], pieces=question.pieces[:longest]
    )


def windows_of(tokens: int, room: int, stride: int) -> Iterator[tuple[int, int]]:
    """Give the first token of each window, and the one after its last.

    Each token is in one at least; a passage that fits has one.
    """
    first = 0
    while True:
        yield first, min(first + room, tokens)
        if first + room >= tokens:
            return
        first += min(stride, room)


def answer_of(question: Question, cut: Cut) -> tuple[int, int]:
    """Give the first and last token of what most people answered.

    Returns:
        -1 twice where the passage has no answer, -2 where it is not known.
    """
    if not question.answers:
        return -1, -1
    placed = Counter(answer for answer in question.answers if answer.start >= 0)
    for answer, _ in placed.most_common():
        first, last = cut.tokens(answer.start, answer.start + len(answer.text))
        if first <= last:
            return first, last
    return -2, -2
