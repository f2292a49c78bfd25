"""Documents from tables: jsonl, csv, tsv, parquet and arrow files.

The files are opened here and read as streams, row after row: a library that is
given a path may take it for a pattern, and may keep what it read for another time.
"""

import csv
import io
import json
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lm_jax.errors import UserError, nearest
from lm_jax.text.opening import opened, reading, suffix, what_it_is

# What data sets call their splits, and what they are called here.
SPLITS = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
# The line of a row, or its number in a file without lines, and its fields.
Row = tuple[int, Sequence[Any]]
_ROWS = 1000
# A document may be as long as it likes.
csv.field_size_limit(2**31 - 1)


def table_documents(
    path: Path, column: str, lacking: Counter[str] | None = None
) -> Iterator[str]:
    """Yield the texts of one column of a table; rows without text are left out.

    Args:
        path: of the table.
        column: of the texts.
        lacking: counts "rows" and those of them that are left out, "without".

    Raises:
        UserError: the file has no such column of text, or cannot be read.
    """
    counted = Counter[str]() if lacking is None else lacking
    for _, (text,) in READERS[suffix(path)](path, [column]):
        counted["rows"] += 1
        counted["without"] += not text
        if text:
            yield text


def _json_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Read an object a line; or where a .json file begins with [, a list of them.

    Such a list is read whole: JSON doesn't say where one could cut it.
    """
    missing, seen = set(columns[:1]), dict[str, Any]()
    for number, row in _objects(path):
        if not isinstance(row, dict):
            raise UserError(
                f"{path}, line {number} is no object {{...}} but {kind_of(row)}."
            )
        text = row.get(columns[0])
        if text is not None and not isinstance(text, str):
            raise _no_text(columns[0], f"{path}, line {number},", _kinds(row))
        if text and not _is_unicode(text):
            raise UserError(
                f"{path}, line {number}: the text has half a character in it (an "
                "escape from \\ud800 to \\udfff without the other half)."
            )
        if missing:
            missing -= row.keys()
            seen |= row if len(seen) < 100 else {}
        for name in columns[1:]:
            if text and name not in row:
                raise _no_column(name, f"{path}, line {number}", row)
        yield number, [row.get(name) for name in columns]
    if missing and seen:
        raise _no_column(columns[0], str(path), seen)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _objects(path: Path) -> Iterator[tuple[int, Any]]:
    number = 1
    try:
        with reading(path), opened(path) as file:
            for number, line in enumerate(file, 1):
                line = line.removeprefix(BOM_UTF8).strip()
                if number == 1 and suffix(path) == ".json" and line.startswith(b"["):
                    yield from enumerate(json.loads(line + file.read()), 1)
                elif line:
                    yield number, json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path}, line {number} cannot be read as JSON: {error}. Each line is to "
            "be one object {...}, or a .json file one list [...] of them."
        ) from error


def _separated(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Read rows of fields under a row of names; all that they hold is text."""
    rows = fields_of(path)
    _, names = next(rows, (1, []))
    places = [_place(name, names, path) for name in columns]
    for number, row in rows:
        yield number, [row[place] for place in places]


def fields_of(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Give the line that a row of a csv or tsv file ends in, and its fields.

    Raises:
        UserError: a row has more or fewer fields than the first, or can't be read.
    """
    with reading(path), opened(path) as file:
        stream: Any = file
        lines = io.TextIOWrapper(stream, "utf-8-sig", newline="")
        rows = csv.reader(lines, strict=True, **_FORMS[suffix(path)])
        try:
            names = next(filter(None, rows), [])
            yield rows.line_num, names
            for row in filter(None, rows):
                if len(row) != len(names):
                    raise UserError(
                        f"{path}, line {rows.line_num}: {len(row)} fields, where the "
                        f"first row names {len(names)}. {_ADVICE[suffix(path)]}"
                    )
                yield rows.line_num, row
        except csv.Error as error:
            raise UserError(
                f"{path}, line {rows.line_num} cannot be read as "
                f"{suffix(path)[1:]}: {error}. {_ADVICE[suffix(path)]}"
            ) from error
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path} is not UTF-8, after line {rows.line_num}. {what_it_is(path)}"
            ) from error


def named_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Give the rows of a table by the names of its columns, and the line of each.

    Args:
        path: of jsonl, csv or tsv, plain or compressed.

    Raises:
        UserError: it is another file, or cannot be read.
    """
    kind = suffix(path)
    if kind in _FORMS:
        rows = fields_of(path)
        _, names = next(rows, (1, []))
        for number, row in rows:
            yield number, dict(zip(names, row, strict=True))
    elif READERS.get(kind) is _json_rows:
        for number, each in _objects(path):
            if not isinstance(each, dict):
                raise UserError(
                    f"{path}, line {number} is no object {{...}} but {kind_of(each)}."
                )
            yield number, each
    else:
        raise UserError(
            f"{path} is no table of text: its name ends in .jsonl, .csv or .tsv."
        )


_ADVICE = {
    ".csv": "A text with commas, quotes or line ends in it stands in double quotes, "
    "and quotes inside it are doubled.",
    ".tsv": "In a tsv file quotes are text, and no field holds a tab or a line end: "
    "save texts that do as csv or jsonl.",
}


def _place(name: str, names: list[str], path: Path) -> int:
    other = [mark for mark in ",;\t|" if len(names) == 1 and mark in names[0]]
    if other and name not in names:
        mark = "commas" if suffix(path) == ".csv" else "tabs"
        raise UserError(
            f"{path} has one column, {names[0]!r}: fields are separated by {mark}, "
            f"and these seem to be by {other[0]!r}. Save it as {suffix(path)[1:]} "
            "again, or as jsonl."
        )
    if names.count(name) != 1:
        raise _no_column(name, str(path), names)
    return names.index(name)


def _parquet(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    from pyarrow import parquet

    with _arrow_errors(path, "parquet"), opened(path) as stream:
        # Without its buffers a group of rows, which may be the whole, isn't held.
        file = parquet.ParquetFile(stream, pre_buffer=False, buffer_size=1 << 20)
        _check_schema(file.schema_arrow, columns, path)
        batches = file.iter_batches(_ROWS, columns=list(columns))
        yield from enumerate(_values(batches, columns), 1)


def _arrow(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Read Arrow's file format (feather) or its stream format (of datasets)."""
    from pyarrow import ipc

    with _arrow_errors(path, "arrow"), opened(path) as stream:
        start = stream.read(6)
        stream.seek(0)
        if start == b"ARROW1":
            file = ipc.open_file(stream)
            batches = map(file.get_batch, range(file.num_record_batches))
        else:
            batches = file = ipc.open_stream(stream)
        _check_schema(file.schema, columns, path)
        parts = (
            batch.slice(first, _ROWS)
            for batch in batches
            for first in range(0, batch.num_rows, _ROWS)
        )
        yield from enumerate(_values(parts, columns), 1)


@contextmanager
def _arrow_errors(path: Path, kind: str) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} cannot be read as {kind}: {reason}") from error


def _values(batches: Iterable[Any], columns: Sequence[str]) -> Iterator[Sequence[Any]]:
    for batch in batches:
        lists = [batch.column(name).to_pylist() for name in columns]
        yield from zip(*lists, strict=True)


def _check_schema(schema: Any, columns: Sequence[str], path: Path) -> None:
    from pyarrow import types

    for name in columns:
        if schema.names.count(name) != 1:
            raise _no_column(name, str(path), schema.names)
    kind = schema.field(columns[0]).type
    held = kind.value_type if types.is_dictionary(kind) else kind
    # Its views are text too; older versions have no question for them.
    if str(held) not in ("string", "large_string", "string_view"):
        kinds = dict(zip(schema.names, map(str, schema.types), strict=True))
        raise _no_text(columns[0], str(path), kinds)


def _no_column(name: str, where: str, names: Iterable[str]) -> UserError:
    names = list(names)
    if names.count(name) > 1:
        return UserError(f"{where} has the column '{name}' {names.count(name)} times.")
    shown = [n if len(n) <= 60 else f"{n[:60]}..." for n in names[:50]]
    return UserError(f"{where} has no column '{name}'.{nearest(name, shown)}")


def _no_text(name: str, where: str, kinds: Mapping[str, str]) -> UserError:
    """Say what the column holds, and what is there of each kind."""
    there = ", ".join(f"{each} ({kind})" for each, kind in [*kinds.items()][:50])
    return UserError(
        f"The column '{name}' of {where} holds no text but {kinds[name]}. There is: "
        f"{there}."
    )


def _kinds(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: kind_of(value) for name, value in row.items()}


def kind_of(value: Any) -> str:
    """Say in words what a value of JSON is."""
    kinds = {str: "text", list: "a list", dict: "an object", bool: "true or false"}
    if value is None:
        return "null"
    return kinds.get(type(value), "a number")


_FORMS: dict[str, dict[str, Any]] = {
    ".csv": {"delimiter": ","},
    ".tsv": {"delimiter": "\t", "quoting": csv.QUOTE_NONE},
}
Reader = Callable[[Path, Sequence[str]], Iterator[Row]]
# Each reads some columns of a file, the first of which is to be text.
READERS: dict[str, Reader] = {
    ".jsonl": _json_rows,
    ".ndjson": _json_rows,
    ".jsonlines": _json_rows,
    ".json": _json_rows,
    **dict.fromkeys(_FORMS, _separated),
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".feather": _arrow,
}
# Those that are no text themselves.
BINARY = (".parquet", ".arrow", ".feather")
