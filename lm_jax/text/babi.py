"""Stories with questions in between, as in bAbI's files (Weston et al. 2015)."""

import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lm_jax.errors import UserError
from lm_jax.text.opening import reading, suffix
from lm_jax.text.reading import blocks


class Line(NamedTuple):
    """A sentence of a story; a question has an answer, and other sentences none."""

    text: str
    answer: str | None


class Story(NamedTuple):
    """Sentences and questions in the order in which they are told.

    Attributes:
        task: what is asked for, as the file's name says it: "qa1".
        split: that the file is named after; "" where it is none.
        lines: the sentences.
    """

    task: str
    split: str
    lines: tuple[Line, ...]

    @property
    def text(self) -> str:
        """The story as one text, answers after their questions."""
        return "\n".join(
            f"{text} {answer or ''}".rstrip() for text, answer in self.lines
        )


def read_babi(path: Path) -> Iterator[Story]:
    """Read the stories of a file, or of all files of an archive.

    Files are named after their task and their split, as "qa1_single_train.txt".

    Raises:
        UserError: a file can't be read, or a line is not of that form.
    """
    if suffix(path) == ".tar":
        with reading(path), tarfile.open(path, "r|*") as archive:
            for member in archive:
                if _FILE.fullmatch(os.path.basename(member.name)) and member.isfile():
                    file = archive.extractfile(member)
                    assert file is not None, "A file of an archive has bytes."
                    text = file.read().decode("utf-8-sig", "replace")
                    yield from _stories(text, f"{path}, {member.name}", member.name)
    else:
        yield from _stories("".join(blocks(path)), str(path), path.name)


def training_stories(path: Path) -> Iterator[str]:
    """Yield each story of training as one document; see `read_babi`."""
    return (story.text for story in read_babi(path) if story.split != "test")


# Not the files of an archive's macOS twins, nor its README.
_FILE = re.compile(r"(?P<task>qa\d+)[^/]*?_(?P<split>train|valid|test)\.txt")
_SPLITS = {"train": "train", "valid": "validation", "test": "test"}


def _stories(text: str, place: str, name: str) -> Iterator[Story]:
    found = _FILE.fullmatch(os.path.basename(name))
    task = found["task"] if found else Path(name).stem
    split = _SPLITS[found["split"]] if found else ""
    lines: list[Line] = []
    for number, row in enumerate(text.split("\n"), 1):
        if not row.strip():
            continue
        first, line = _line(row, f"{place}, line {number}")
        if first == 1 and lines:
            yield Story(task, split, tuple(lines))
            lines = []
        if first != len(lines) + 1:
            raise UserError(
                f"{place}, line {number}: its number is {first}, and {len(lines) + 1} "
                "is next; a story begins with 1."
            )
        lines.append(line)
    if lines:
        yield Story(task, split, tuple(lines))


def _line(row: str, place: str) -> tuple[int, Line]:
    """Read NUMBER TEXT, or NUMBER QUESTION<TAB>ANSWER<TAB>NUMBERS."""
    found = re.fullmatch(r"(\d+) ([^\t]*[^\t\s]) *(?:\t([^\t]*)(?:\t[\d ]*)?)?", row)
    if not found:
        raise UserError(
            f"{place}: {row!r} is neither a number and a sentence, nor a number, a "
            "question and its answer with tabs between."
        )
    number, text, answer = found.groups()
    if answer is not None and not answer.strip():
        raise UserError(f"{place}: the question {text!r} has no answer.")
    return int(number), Line(text, answer.strip() if answer else None)
