"""From files to the pieces of a corpus: its documents, its splits, its digest."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from lm_jax.errors import UserError
from lm_jax.text import tables
from lm_jax.text.corpus import Corpus
from lm_jax.text.folders import Files, own_splits
from lm_jax.text.found import Text
from lm_jax.text.known import DOCUMENTS, Form, stripped_lines
from lm_jax.text.labels import LABELLED, PAIRED, Example, table_examples
from lm_jax.text.opening import suffix
from lm_jax.text.reading import (
    Separator,
    blocks,
    check_unchanged,
    cut_safely,
    measure,
    tar_documents,
)
from lm_jax.text.splitting import (
    NOT_SPLIT,
    Piece,
    Shares,
    bounds,
    by_digest,
    by_position,
    digest_of,
    drawn_beside,
    ended,
    share,
)


class Columns(NamedTuple):
    """Where the labels of a table stand, and the other texts of a row."""

    label: str = ""
    others: tuple[str, ...] = ()
    source: int = 0
    """Which text of a row is read: none that is held out stands in train."""


class _File(NamedTuple):
    path: Path
    split: str
    """A split that the corpus names itself, else empty."""
    measure: dict


def read_files(
    files: Files,
    corpus: Corpus,
    form: Form,
    title: str,
    cache: Path,
    label: Columns,
) -> Text:
    """Measure files and give them as one corpus; none of their text is kept.

    Args:
        files: of the corpus.
        corpus: how it is cut and split.
        form: of the files.
        title: what messages call the corpus.
        cache: folder of what was read before.
        label: columns of the labels, where these are asked for.

    Raises:
        UserError: a file can't be read, is empty or not UTF-8.
    """
    splits = own_splits(files.paths, corpus.validation)
    found = tuple(
        _File(path, split, measure(path, cache, text=_is_text(path, form)))
        for path, split in zip(files.paths, splits, strict=True)
    )
    whole = _Whole(found, corpus, form, title, label)
    if corpus.separator and whole.own_documents:
        raise UserError(
            f"{title} has documents of its own: a separator cuts plain text alone. "
            "Leave data.corpus.separator empty."
        )
    size = sum(file.measure["bytes"] for file in found)
    count = f" in {len(found)} files" if len(found) > 1 else ""
    about = [f"{title}: {size:,} bytes{count}.", *_dropped(found, form)]
    about += _twice(found)
    return Text(
        whole.digest(),
        " ".join([*about, whole.how_split(), *files.notes]),
        whole.many,
        size,
        whole.pieces,
        whole.labels,
        noted=whole.noted,
        together=whole.together,
    )


@dataclass(frozen=True)
class _Whole:
    """The files of a corpus, and what follows from how they are cut and split."""

    files: tuple[_File, ...]
    corpus: Corpus
    form: Form
    title: str
    columns: Columns
    lacking: Counter[str] = field(default_factory=Counter)
    """Of the last reading; see `tables.table_documents`."""

    @property
    def table(self) -> bool:
        """Whether documents are the rows of tables."""
        return self.form == "text" and suffix(self.files[0].path) in tables.READERS

    @property
    def own_documents(self) -> bool:
        """Whether a file is several documents by its form."""
        return self.table or self.form in ("tar", *DOCUMENTS, *LABELLED)

    @property
    def together(self) -> int:
        """How many texts of a row belong together."""
        return 2 if self.form in PAIRED else 1 + len(self.columns.others)

    @property
    def cut(self) -> bool:
        """Whether a file is several documents."""
        return self.own_documents or bool(self.corpus.separator)

    @property
    def many(self) -> bool:
        """Whether a split is several documents."""
        splits = {file.split for file in self.files}
        return self.cut or len(splits) < len(self.files) > 1

    @property
    def drawn(self) -> int:
        """The number of files that name no split."""
        return sum(not file.split for file in self.files)

    @property
    def shares(self) -> Shares:
        """The shares that are held out of what names no split."""
        return drawn_beside((file.split for file in self.files), self.corpus.shares)

    def digest(self) -> str:
        """Give the digest of the text, and of how it is cut and split."""
        ends = {suffix(file.path) for file in self.files} if self.table else set()
        # What was read of csv and tsv before is another text: it had fewer rows.
        kind = "rows" if ends & {".csv", ".tsv"} else self.form
        column = self.corpus.column if self.table else ""
        shares = self.shares if self.drawn else ()
        recipe = [kind, self.corpus.separator, column, self.many, shares]
        recipe += self.columns.others
        recipe += [self.columns.source] * self._apart
        digests = [(file.measure["sha256"], file.split) for file in self.files]
        return digest(recipe, digests)

    def pieces(self) -> Iterator[Piece]:
        """Yield the text, document after document.

        Raises:
            UserError: there is none, a file is damaged or changes meanwhile, or the
                separator is never met.
        """
        separator, piece = Separator(self.corpus.separator), None
        self.lacking.clear()
        for piece in self._pieces(separator):
            yield piece
        separator.check(self.title)
        if piece is None:
            where = f" in the column '{self.corpus.column}'" if self.table else ""
            raise UserError(f"{self.title} has no text{where} to learn from.")

    def noted(self) -> list[str]:
        """Say how many rows had no text when they were last read."""
        rows, without = self.lacking["rows"], self.lacking["without"]
        if not without:
            return []
        return [
            f"{without:,} of the {rows:,} rows have no text in the column "
            f"'{self.corpus.column}' and are left out."
        ]

    def _pieces(self, separator: Separator) -> Iterator[Piece]:
        for file in self.files:
            if self.together > 1:
                yield from self._rows(file)
                continue
            if self.table:
                documents: Iterator[str] | None = tables.table_documents(
                    file.path, self.corpus.column, self.lacking
                )
            else:
                documents = _documents(file.path, self.form, separator)
            if documents is not None:
                yield from by_digest(documents, file.split, self.shares)
            elif file.split or self.drawn > 1:
                split = file.split or share(file.measure["sha256"], self.shares)
                yield from ended(split, _plain(file.path, self.form))
            else:
                total = file.measure["characters"]
                text = _plain(file.path, self.form)
                yield from by_position(text, total, self.shares)
            check_unchanged(file.path, file.measure["stamp"])

    def _rows(self, file: _File) -> Iterator[Piece]:
        """Yield the texts of each row, which go to the split of the first."""
        for split, texts in self._split(file):
            if split != "train" or self._source(texts) not in self._held:
                yield from (Piece(split, text, True) for text in texts)
        check_unchanged(file.path, file.measure["stamp"])

    def _split(self, file: _File) -> Iterator[tuple[str, tuple[str, ...]]]:
        for texts, _ in self._examples(file):
            yield share(digest_of(texts[0]), self.shares, file.split), texts

    def _source(self, texts: tuple[str, ...]) -> str:
        return digest_of(texts[self.columns.source])

    @property
    def _apart(self) -> bool:
        """Whether rows are split by another text than the one that is read."""
        return bool(self.columns.source and self.drawn)

    @cached_property
    def _held(self) -> frozenset[str]:
        """What is read of rows that are held out, where rows are split by another."""
        rows = (row for file in self.files * self._apart for row in self._split(file))
        return frozenset(
            self._source(texts) for split, texts in rows if split != "train"
        )

    def labels(self) -> Iterator[tuple[str, str]]:
        """Yield the split and the label of each document, or row of them.

        Raises:
            UserError: a file has none, or changes meanwhile.
        """
        for file in self.files:
            for texts, own in self._examples(file):
                yield share(digest_of(texts[0]), self.shares, file.split), own
            check_unchanged(file.path, file.measure["stamp"])

    def _examples(self, file: _File) -> Iterator[Example]:
        """Read the texts of a file with their labels.

        Raises:
            UserError: it has none.
        """
        label, others, _ = self.columns
        if self.form in LABELLED and not others:
            return LABELLED[self.form](file.path)
        if not self.table:
            what = "pairs" if others else "labels"
            raise UserError(
                f"{self.title} has no {what}: they are read from the column "
                f"'{[*others, label][0]}' of a jsonl, csv, tsv or parquet file."
            )
        return table_examples(file.path, [self.corpus.column, *others], label)

    def how_split(self) -> str:
        """Say how the text is split."""
        if not self.drawn:
            return "It keeps its own splits."
        if not any(self.shares):
            return NOT_SPLIT
        start, shares = "Split", self.shares
        if self.drawn < len(self.files):
            start = "It keeps its own test split. Its train is split"
        if self.drawn > 1 or self.cut:
            return (
                f"{start} by a digest of each document's text: "
                f"{shares.validation:g} for validation, {shares.test:g} for test."
                f"{self._left_out()}"
            )
        (total,) = (f.measure["characters"] for f in self.files if not f.split)
        train, validation = bounds(total, shares)
        sentence = f"{start} by position: the first {train:,} characters are train, "
        sentence += f"the next {validation - train:,} validation"
        if shares.test:
            sentence += f", the last {total - validation:,} test"
        return sentence + "."

    def _left_out(self) -> str:
        """Say how many rows of train are left out; "" where none is."""
        rows = (row for file in self.files * self._apart for row in self._split(file))
        both = [s == "train" and self._source(texts) in self._held for s, texts in rows]
        if not any(both):
            return ""
        return f" {sum(both):,} rows of train, whose source is held out, are left out."


def _is_text(path: Path, form: Form) -> bool:
    """Say whether a file must be UTF-8, and has characters to be counted."""
    own = form in ("tar", "dialogues", *LABELLED)
    return not own and (form != "text" or suffix(path) not in tables.BINARY)


def _documents(path: Path, form: Form, separator: Separator) -> Iterator[str] | None:
    """Give the documents of a file that is no table, None where it is one text."""
    if form in LABELLED:
        return (text for texts, _ in LABELLED[form](path) for text in texts)
    if form == "tar":
        return tar_documents(path)
    if form in DOCUMENTS:
        return DOCUMENTS[form](path)
    return separator.cut(blocks(path)) if separator.text else None


def _plain(path: Path, form: Form) -> Iterator[str]:
    whole = cut_safely(blocks(path))
    return stripped_lines(whole) if form == "stripped lines" else whole


def _dropped(files: tuple[_File, ...], form: Form) -> list[str]:
    """Say which bytes of plain text are not among those of the tokens."""
    if form == "stripped lines":
        return ["Blanks around its lines are dropped."]
    plain = [file for file in files if suffix(file.path) not in tables.READERS]
    count = sum(file.measure.get("dropped", 0) for file in plain)
    if not count or form != "text":
        return []
    return [
        f"{count:,} of them are dropped: line ends of two bytes (CRLF) become one, "
        "and a byte order mark is no text."
    ]


def _twice(files: tuple[_File, ...]) -> list[str]:
    """Name the files that hold what another of the same split holds."""
    first: dict[tuple[str, str], str] = {}
    same = [
        f"{file.path.name} ({known})"
        for file in files
        for key in [(file.measure["sha256"], file.split)]
        if (known := first.setdefault(key, file.path.name)) != file.path.name
    ]
    if not same:
        return []
    more = f" and {len(same) - 3} more" if len(same) > 3 else ""
    return [
        f"Files that hold the same as another are read as often as they stand there: "
        f"{', '.join(same[:3])}{more}."
    ]


def digest(*values: object) -> str:
    """Give one digest of some values."""
    return sha256(json.dumps(values).encode()).hexdigest()
