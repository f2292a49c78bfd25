"""Documents, queries and judgements, in the forms that collections are given out in."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lm_jax.errors import UserError
from lm_jax.text.reading import old_lines
from lm_jax.text.tables import fields_of, kind_of, named_rows

Query = tuple[str, str]
"""Id and text."""


def beir_documents(path: Path) -> Iterator[tuple[str, str, str]]:
    """Read documents, an object a line: "_id", "title" and "text".

    Raises:
        UserError: the file can't be read, or an object lacks its id or its text.
    """
    for number, row in named_rows(path):
        title = row.get("title") or ""
        yield _text(path, number, row, "_id"), str(title), _text(path, number, row)


def beir_queries(path: Path) -> Iterator[Query]:
    """Read queries, an object a line: "_id" and "text".

    Raises:
        UserError: as `beir_documents`; a query is empty.
    """
    for number, row in named_rows(path):
        text = _text(path, number, row)
        if not text.strip():
            raise UserError(f"{path}, line {number} has an empty query. Take it out.")
        yield _text(path, number, row, "_id"), text


def _text(path: Path, number: int, row: Any, name: str = "text") -> str:
    found = row.get(name)
    if not isinstance(found, str):
        has = f"{kind_of(found)} for '{name}'" if name in row else f"no '{name}'"
        raise UserError(
            f"{path}, line {number} has {has}: each object has an '_id' and a 'text'."
        )
    return found


def beir_judgements(path: Path) -> dict[str, dict[str, int]]:
    """Read a table of query-id, corpus-id and score: the grades of each query.

    A first line that ends in a score is a judgement, and no names of columns.

    Raises:
        UserError: the file can't be read, a score is no whole number, or a document is
            judged twice.
    """
    found: dict[str, dict[str, int]] = {}
    for place, (number, fields) in enumerate(fields_of(path)):
        if len(fields) == 3 and re.fullmatch(r"-?\d+", fields[2]):
            _judge(found, path, number, fields[0], fields[1], int(fields[2]))
        elif place:
            raise UserError(
                f"{path}, line {number}: {'  '.join(fields)!r} is no "
                "query-id, corpus-id and whole score with tabs between."
            )
    return found


def _judge(
    found: dict[str, dict[str, int]],
    path: Path,
    number: int,
    query: str,
    document: str,
    grade: int,
) -> None:
    """Note a judgement; what is below 0 is judged and of no use, as 0 is."""
    grades = found.setdefault(query, {})
    grade = max(0, grade)
    if grades.setdefault(document, grade) != grade:
        raise UserError(
            f"{path}, line {number}: the document '{document}' was judged "
            f"{grades[document]} for the query '{query}' before, and {grade} here."
        )


def cranfield_documents(path: Path) -> Iterator[tuple[str, str, str]]:
    """Read Cranfield's documents: .I id, .T title, .A, .B, .W text.

    The text repeats the title; it is taken out there, so that it comes once.

    Raises:
        UserError: the file can't be read, or is of another form.
    """
    for number, fields in _records(path, "T"):
        title = " ".join(fields["T"].split())
        text = " ".join(fields.get("W", "").split())
        yield number, title, text.removeprefix(title).lstrip()


def cranfield_queries(path: Path) -> Iterator[Query]:
    """Read Cranfield's queries: the id of the k-th is k, as judgements have it.

    The numbers after .I are others: they leave some out.

    Raises:
        UserError: as `cranfield_documents`.
    """
    for number, (_, fields) in enumerate(_records(path, "W"), 1):
        yield str(number), " ".join(fields["W"].split())


def cranfield_judgements(path: Path) -> dict[str, dict[str, int]]:
    """Read lines of query, document and code: 1 is the best and 4 the least.

    They become grades from 4 to 1; -1 and 5, of no interest, become 0.

    Raises:
        UserError: the file can't be read, or a line is of another form.
    """
    found: dict[str, dict[str, int]] = {}
    for number, line in enumerate(old_lines(path), 1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 3 or fields[2] not in ("-1", "1", "2", "3", "4", "5"):
            raise UserError(
                f"{path}, line {number}: {line.strip()!r} is no query, document and "
                "code from 1 to 5, or -1."
            )
        code = int(fields[2])
        _judge(found, path, number, fields[0], fields[1], 5 - code if code > 0 else 0)
    return found


def _records(path: Path, needed: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Read records that begin with .I and an id, of fields that begin with .X."""
    text = "\n".join(line.rstrip("\r") for line in old_lines(path))
    first, *records = re.split(r"^\.I +", text, flags=re.MULTILINE)
    for number, record in enumerate(records, 1):
        name, *parts = re.split(r"^\.([A-Z])[ ]*$", record, flags=re.MULTILINE)
        fields = dict(zip(parts[::2], parts[1::2], strict=True))
        if needed not in fields:
            raise UserError(
                f"{path}, record {number} has no .{needed}: it is not of Cranfield's "
                "form (.I, .T, .A, .B, .W)."
            )
        yield name.strip(), fields
    if first.strip() or not records:
        raise UserError(f"{path} does not begin with a record (.I and a number).")
