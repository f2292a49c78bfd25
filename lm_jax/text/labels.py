"""Texts and their labels, in the forms that data sets are given out in."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lm_jax.errors import UserError
from lm_jax.text.opening import opened, reading, suffix
from lm_jax.text.reading import old_lines
from lm_jax.text.tables import READERS, kind_of

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
        UserError: the file has no such columns, a row has an empty text, no label or
            one that is neither text nor a number, or the file cannot be read.
    """
    rows = READERS[suffix(path)](path, [*columns, *[label] * bool(label)])
    for number, row in enumerate(rows, 1):
        place, texts = f"{path}, row {number}", row[: len(columns)]
        for column, text in zip(columns, texts, strict=True):
            if not isinstance(text, str) or not text.strip():
                raise UserError(
                    f"{place} has no text in the column '{column}': there is nothing "
                    "to learn. Take the row out, or write what is missing."
                )
        own = row[-1] if label else ""
        if label and (own in (None, "") or not isinstance(own, str | int | float)):
            what = "no label" if own in (None, "") else f"{kind_of(own)}, no label,"
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


# The forms of documents that have labels, and what finds both.
LABELLED = {
    "label first": label_first,
    "named columns": named_columns,
    "imdb": imdb,
    "rated pairs": rated_pairs,
}
