"""Texts and their labels, in the forms that data sets are given out in."""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from lm_jax.errors import UserError
from lm_jax.text.opening import COMPRESSED, opened, reading, suffix
from lm_jax.text.reading import old_lines
from lm_jax.text.tables import BINARY, READERS, kind_of, named_rows

_MARK = re.compile(r"[^\w\s']|(?<!\w)'|'(?!\w)")


class Example(NamedTuple):
    """One text, or the texts of a pair, and what is said of it."""

    texts: tuple[str, ...]
    label: str


def table_examples(path: Path, columns: Sequence[str], label: str) -> Iterator[Example]:
    """Yield the texts of some columns of a table, with what stands in another.

    Args:
        path: of the table.
        columns: of the texts.
        label: what stands beside them; "" where nothing does.

    Raises:
        UserError: the file has no such columns or one is given twice, a row has an
            empty text, no label or one that is neither text nor a number, or the file
            cannot be read.
    """
    asked = [*columns, label]
    if twice := next((name for name in asked if asked.count(name) > 1), ""):
        raise UserError(
            f"The column '{twice}' of {path} is asked for twice: what is read and what "
            "is to be told of it are two columns (data.corpus.column is the first)."
        )
    rows = READERS[suffix(path)](path, [*columns, *[label] * bool(label)])
    unit = "row" if suffix(path) in BINARY else "line"
    for number, row in rows:
        place, texts = f"{path}, {unit} {number}", row[: len(columns)]
        for column, text in zip(columns, texts, strict=True):
            if not isinstance(text, str) or not text.strip():
                raise UserError(
                    f"{place} has no text in the column '{column}': there is nothing "
                    "to learn. Take the row out, or write what is missing."
                )
        own = row[-1] if label else ""
        none = own in (None, "") or own != own  # as numbers that lack are written
        if label and (none or not isinstance(own, str | int | float)):
            what = "no label" if none else f"{kind_of(own)}, no label,"
            raise UserError(f"{place} has {what} in the column '{label}'.")
        yield Example(tuple(texts), str(own))


def label_first(path: Path) -> Iterator[Example]:
    """Read lines of a label, a space and a text; of a .tsv, named columns.

    Raises:
        UserError: the file cannot be read, or a line is not of that form.
    """
    if suffix(path) == ".tsv":
        yield from named_columns(path)
        return
    for number, line in enumerate(old_lines(path), 1):
        if line.strip():
            label, _, text = line.partition(" ")
            if not text.strip():
                raise UserError(
                    f"{path}, line {number}: {line!r} is no label, space and text."
                )
            yield Example((text.strip(),), label)


def named_columns(path: Path) -> Iterator[Example]:
    """Read a table of a column "label" and one of texts, as GLUE and its like have.

    Raises:
        UserError: as `table_examples`.
    """
    with reading(path), opened(path) as file:
        names = (
            file.readline().decode("utf-8-sig", "replace").rstrip("\r\n").split("\t")
        )
    texts = [name for name in names if name != "label"]
    yield from table_examples(path, texts[:1], "label")


def imdb(path: Path) -> Iterator[Example]:
    """Read lines of a label, a rating, a number and a review, with tabs between.

    Reviews are spaced as other corpora are given out: a space on both sides of each
    mark of punctuation but the apostrophe, and for each line break of HTML.

    Raises:
        UserError: the file cannot be read, or a line is not of that form.
    """
    for number, line in enumerate(old_lines(path), 1):
        fields = line.split("\t")
        if len(fields) != 4 or not fields[3].strip():
            raise UserError(
                f"{path}, line {number} is no label, rating, number and review with "
                "tabs between."
            )
        spaced = _MARK.sub(r" \g<0> ", fields[3].replace("<br />", " "))
        yield Example((" ".join(spaced.split()),), fields[0])


def rated_pairs(path: Path) -> Iterator[Example]:
    """Read rows of two sentences and a rating, with commas between and no names.

    Raises:
        UserError: the file cannot be read, or a row is not of that form.
    """
    with reading(path), opened(path) as file:
        stream: Any = file
        rows = csv.reader(io.TextIOWrapper(stream, "utf-8-sig", newline=""))
        for number, fields in enumerate(rows, 1):
            if len(fields) != 3 or not (fields[0].strip() and fields[1].strip()):
                raise UserError(
                    f"{path}, row {number} has {len(fields)} fields: two sentences and "
                    "a rating were expected."
                )
            yield Example((fields[0], fields[1]), fields[2])


def parallel_lines(path: Path) -> Iterator[Example]:
    """Read the lines of an English file, each with that of the German one beside it.

    The German file by itself gives nothing.

    Raises:
        UserError: a file is missing or can't be read, one has more lines than the
            other, or a line is empty.
    """
    other = _beside(path)
    if other is None:
        return
    both = zip_longest(old_lines(path), old_lines(other))
    for number, (source, target) in enumerate(both, 1):
        for line, here, there in ((source, path, other), (target, other, path)):
            if line is None:
                raise UserError(
                    f"{here} ends before line {number}, which {there} has: each line "
                    "of one belongs to a line of the other."
                )
            if not line.strip():
                raise UserError(
                    f"{here}, line {number} is empty, and {there} has one there. Take "
                    "out both, or write what is missing."
                )
        yield Example((source.strip(), target.strip()), "")


def _beside(path: Path) -> Path | None:
    """The German file that belongs to an English one; None for a German one."""
    stem, language, *_ = path.name.split(".")
    if language != "en":
        return None
    for end in ("", *COMPRESSED):
        other = path.with_name(f"{stem}.de{end}")
        if other.is_file():
            return other
    raise UserError(
        f"{path} has no {stem}.de beside it, whose lines are its own in German."
    )


def tabbed_pairs(path: Path) -> Iterator[Example]:
    """Read lines of two texts with a tab between, and perhaps more after another.

    A line without a tab is no pair, and is left out.

    Raises:
        UserError: the file cannot be read.
    """
    for line in old_lines(path):
        source, target, *_ = (*line.split("\t"), "")
        if source.strip() and target.strip():
            yield Example((source.strip(), target.strip()), "")


def summaries(path: Path) -> Iterator[Example]:
    """Read objects of JSON, each a document in sentences and one or more summaries.

    A sentence stands on a line of its own. A document is given once with each of its
    summaries, one after the other.

    Raises:
        UserError: the file cannot be read, or a row lacks a sentence or a summary.
    """
    for number, row in named_rows(path):
        place = f"{path}, line {number}"
        document = "\n".join(_texts_of(row, "source", place))
        for summary in _texts_of(row, "target", place):
            yield Example((document, summary), "")


def _texts_of(row: Mapping[str, Any], name: str, place: str) -> list[str]:
    """Give the texts of a list, white space within them as one space."""
    given = row.get(name)
    texts = given if isinstance(given, list) else []
    if not texts or not all(isinstance(text, str) for text in texts):
        raise UserError(
            f"{place} has no list of texts as '{name}': a document is the sentences of "
            "its 'source', and has one 'target' or more."
        )
    found = [" ".join(text.split()) for text in texts]
    if not all(found) and name == "target" or not any(found):
        raise UserError(
            f"{place} has an empty text as '{name}'. Take it out, or write what is "
            "missing."
        )
    return [text for text in found if text]


# The forms of rows of two texts.
PAIRED = ("rated pairs", "parallel lines", "tabbed pairs", "summaries")

# The forms of documents that have labels, and what finds both.
LABELLED = {
    "label first": label_first,
    "named columns": named_columns,
    "imdb": imdb,
    "rated pairs": rated_pairs,
    "parallel lines": parallel_lines,
    "tabbed pairs": tabbed_pairs,
    "summaries": summaries,
}
