"""Questions on passages, in the form of SQuAD's files (Rajpurkar et al. 2016, 2018)."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from lm_jax.errors import UserError
from lm_jax.text.reading import blocks


class Answer(NamedTuple):
    """What answers a question, and where it stands in the passage."""

    start: int
    """The character that it begins with, from 0; -1 where it is not in the passage."""
    text: str


class Question(NamedTuple):
    """A question on a passage; one that the passage doesn't answer has no answers."""

    id: str
    text: str
    answers: tuple[Answer, ...]


class Passage(NamedTuple):
    """A paragraph of an article, and what is asked about it."""

    article: str
    text: str
    questions: tuple[Question, ...]


def read_squad(path: Path, found: bool = False) -> Iterator[Passage]:
    """Read the passages of a file, each with its questions.

    Args:
        path: of JSON in the form of SQuAD 1.1 or 2.0, or of CMRC 2018.
        found: whether an answer that isn't at its offset is looked for, as CMRC's
            must be: its first place is taken, and -1 where there is none.

    Raises:
        UserError: the file can't be read or has another form, an answer is not at
            its offset, or a question's id comes twice.
    """
    seen: set[str] = set()
    for number, article in enumerate(_articles(path), 1):
        place = f"{path}, article {number}"
        name = str(_part(article, "title", place, str, article.get("id", number)))
        place = f"{path}, article {name!r}"
        for paragraph in _part(article, "paragraphs", place, list):
            text = _part(paragraph, "context", place, str)
            asked = [
                _question(row, text, place, found)
                for row in _part(paragraph, "qas", place, list)
            ]
            for question in asked:
                if question.id in seen:
                    raise UserError(f"{place}: the question {question.id} comes twice.")
                seen.add(question.id)
            yield Passage(name, text, tuple(asked))


def passages(path: Path, found: bool = False) -> Iterator[str]:
    """Yield each passage of a file as one document; see `read_squad`."""
    return (passage.text for passage in read_squad(path, found))


# The forms of files of questions, and what reads them.
QUESTIONS: dict[str, Callable[[Path], Iterator[Passage]]] = {
    "squad": read_squad,
    "cmrc": partial(read_squad, found=True),
}


def _articles(path: Path) -> list[Any]:
    try:
        whole = json.loads("".join(blocks(path)))
    except ValueError as error:
        raise UserError(
            f"{path} is no JSON: {error}. Questions are one object in the form of "
            "SQuAD's files, and not an object a line."
        ) from error
    return _part(whole, "data", str(path), list)


def _question(row: Any, passage: str, place: str, found: bool) -> Question:
    name = str(_part(row, "id", place, str | int))
    place = f"{place}, question {name}"
    text = _part(row, "question", place, str)
    if not text.strip():
        raise UserError(f"{place} is empty: there is nothing to answer.")
    none = bool(row.get("is_impossible"))
    given = [] if none else _part(row, "answers", place, list)
    answers = (_answer(answer, passage, place, found) for answer in given)
    return Question(name, text, tuple(answers))


def _answer(row: Any, passage: str, place: str, found: bool) -> Answer:
    text = _part(row, "text", place, str)
    start = _part(row, "answer_start", place, int)
    if start >= 0 and text and passage[start : start + len(text)] == text:
        return Answer(start, text)
    place_of = passage.find(text) if text else -1
    if found:
        return Answer(place_of, text)
    there = f"; it stands at {place_of}" if place_of >= 0 else ""
    raise UserError(
        f"{place}: the answer {text!r} is not in its passage at {start}{there}. "
        f"There is {passage[max(start, 0) : max(start, 0) + len(text) + 5]!r}."
    )


def _part(row: Any, name: str, place: str, kind: Any, *default: Any) -> Any:
    """Give a part of an object of JSON; refuse one that lacks it."""
    value = row.get(name, *default) if isinstance(row, dict) else None
    if value is None or not (isinstance(value, kind) or value in default):
        raise UserError(
            f"{place} has no {name!r} where one is expected: questions have the form "
            "of SQuAD's files (data, paragraphs, context, qas, question, id, answers, "
            "text, answer_start)."
        )
    return value
