"""Documents, queries, and which documents answer which query."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from lm_jax.errors import UserError, nearest
from lm_jax.text.judgements import (
    Query,
    beir_documents,
    beir_judgements,
    beir_queries,
    cranfield_documents,
    cranfield_judgements,
    cranfield_queries,
)
from lm_jax.text.known import Known, namesakes
from lm_jax.text.opening import COMPRESSED
from lm_jax.text.splitting import SPLITS, Shares, digest_of, share

Grades = Mapping[str, int]
"""Grade of each judged document, by its id: 0 is judged and of no use."""

COLLECTIONS = {
    "scifact": Known("SciFact", "scifact"),
    "cranfield": Known("Cranfield 1400", "cranfield"),
}
"""Test collections that have a name, below $LM_JAX_DATA."""
_NAMES = {"train": ("train",), "validation": ("dev", "validation"), "test": ("test",)}
_FORMS = ("qrels/{}.tsv", "beir_qrels_{}.tsv", "qrels_{}.tsv")
# What files may be called, the first that is read before others.
_CRANFIELD = ("cran.all.1400", "cran.qry", "cranqrel")
_DOCUMENTS, _QUERIES = ("corpus.jsonl",), ("queries.jsonl", "beir_queries.jsonl")
_JUDGED = {
    split: tuple(form.format(n) for n in names for form in _FORMS)
    for split, names in _NAMES.items()
}


@dataclass(frozen=True)
class Collection:
    """A test collection: BEIR's files in a folder, or Cranfield's.

    BEIR's are corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv, plain or compressed, or
    beir_queries.jsonl and beir_qrels_SPLIT.tsv in their place.
    """

    source: str = "scifact"
    """"scifact" or "cranfield" below $LM_JAX_DATA, or the path of a folder."""
    titles: bool = True
    """Whether a document begins with its title."""
    validation: float = 0.1
    """Share of the queries for validation, where the judgements have no such split: of
    those for training, or of all where they have no splits."""
    test: float = 0.0
    """Share of the queries for a test, where the judgements have no splits."""

    def __post_init__(self) -> None:
        """Refuse shares that are none."""
        shares = (self.validation, self.test)
        if not (min(shares) >= 0 and sum(shares) <= 1):
            raise UserError(
                f"Collection(validation={self.validation}, test={self.test}): the "
                "shares of the queries must not be negative, and no more than 1 "
                "together."
            )


class Passage(NamedTuple):
    """A document: its id, its title and its text."""

    id: str
    title: str
    text: str

    def whole(self, titles: bool) -> str:
        """Give the text that is read, after the title or without it."""
        return f"{self.title} {self.text}".strip() if titles else self.text


@dataclass(frozen=True)
class Judged:
    """A collection that was read: it is held in memory, as collections are small.

    Attributes:
        documents: each once, in the order of the file.
        texts: of each document, as it is read.
        queries: of each split, in the order of the file, by their ids; each has a
            judgement.
        grades: of the judged documents of each query.
        statement: a sentence on what was read, and on what was odd.
    """

    documents: tuple[Passage, ...]
    texts: tuple[str, ...]
    queries: Mapping[str, Mapping[str, str]]
    grades: Mapping[str, Grades]
    statement: str

    @cached_property
    def place(self) -> dict[str, int]:
        """The place of each document, by its id."""
        return {passage.id: k for k, passage in enumerate(self.documents)}

    @cached_property
    def same(self) -> tuple[int, ...]:
        """Of each document, the first that has its text."""
        first: dict[str, int] = {}
        return tuple(first.setdefault(text, k) for k, text in enumerate(self.texts))

    @cached_property
    def text_digest(self) -> str:
        """Digest of the documents: their ids and texts in their order."""
        return digest_of_texts(
            zip((passage.id for passage in self.documents), self.texts, strict=True)
        )

    @cached_property
    def digest(self) -> str:
        """Digest of the documents, the queries, their splits and judgements."""
        found = sha256(self.text_digest.encode())
        for split, queries in self.queries.items():
            for query, text in queries.items():
                grades = sorted(self.grades[query].items())
                found.update(repr((split, query, text, grades)).encode())
        return found.hexdigest()[:20]


def digest_of_texts(texts: Iterator[tuple[str, str]]) -> str:
    """Name documents, (id, text) each, by a digest of them in their order."""
    found = sha256()
    for pair in texts:
        found.update(repr(pair).encode())
    return found.hexdigest()[:20]


def read_collection(collection: Collection) -> Judged:
    """Read a collection whole.

    Queries without a judgement are left out and counted, and so are judgements of
    documents or queries that aren't there.

    Raises:
        UserError: it isn't there or can't be read; no query has a judgement.
    """
    folder = _folder(collection.source)
    cranfield = bool(_variants(folder, "cran.all.1400"))
    documents = tuple(Passage(*each) for each in _documents(folder, cranfield))
    if not documents:
        raise UserError(f"{folder} has no document.")
    queries, judged = _asked(folder, cranfield)
    texts = tuple(passage.whole(collection.titles) for passage in documents)
    known = {passage.id for passage in documents}
    if len(known) < len(documents):
        raise UserError(f"{folder} has several documents of one id.")
    return _kept(collection, folder, documents, texts, queries, judged)


def read_documents(source: str) -> Iterator[Passage]:
    """Read documents alone, one after the other.

    Args:
        source: a collection's name or folder, or a file of BEIR's form (.jsonl).

    Raises:
        UserError: they aren't there or can't be read.
    """
    path = Path(os.path.expanduser(source))
    if path.is_file():
        yield from (Passage(*each) for each in beir_documents(path))
        return
    folder = _folder(source)
    cranfield = bool(_variants(folder, "cran.all.1400"))
    yield from (Passage(*each) for each in _documents(folder, cranfield))


def _kept(
    collection: Collection,
    folder: Path,
    documents: tuple[Passage, ...],
    texts: tuple[str, ...],
    queries: list[Query],
    judged: Mapping[str, Mapping[str, Grades]],
) -> Judged:
    """Give what is judged of what was read, query after query."""
    known = {passage.id for passage in documents}
    splits: dict[str, dict[str, str]] = {split: {} for split in SPLITS}
    grades: dict[str, Grades] = {}
    own = {query: split for split, of in judged.items() for query in of}
    lost = 0
    for query, text in queries:
        found = judged.get(own.get(query, ""), {}).get(query, {})
        there = {document: g for document, g in found.items() if document in known}
        lost += len(found) - len(there)
        if there:
            splits[_split(collection, judged, own[query], text)][query] = text
            grades[query] = there
    if not grades:
        raise UserError(
            f"{folder}: none of {len(queries):,} queries has a judgement of a document "
            "that is there. The ids in the qrels are those of queries and documents."
        )
    kept = {split: of for split, of in splits.items() if of}
    counts = ", ".join(f"{len(of):,} {split}" for split, of in kept.items())
    total = sum(map(len, grades.values()))
    about = f"{folder.name}: {len(documents):,} documents, {counts} queries with "
    about += f"{total:,} judgements."
    unasked = own.keys() - {query for query, _ in queries}
    about += _left_out(len(queries) - len(grades), lost, len(unasked))
    about += _unread(folder)
    if collection.source in COLLECTIONS:
        about = " ".join([about, *namesakes(collection.source, folder)])
    return Judged(documents, texts, kept, grades, about)


def _left_out(unjudged: int, lost: int, unasked: int) -> str:
    """Say how many queries and judgements have nothing to go with, if there are."""
    counted = (
        (unjudged, "queries without a judgement are left out"),
        (lost, "judgements of documents that aren't there are left out"),
        (unasked, "judged queries that aren't there are left out"),
    )
    return "".join(f" {count:,} {what}." for count, what in counted if count)


def _split(
    collection: Collection, judged: Mapping[str, object], own: str, text: str
) -> str:
    """Give the split of a query: its own, or one drawn by the digest of its text."""
    drawn = own == "" or (own == "train" and "validation" not in judged)
    test = collection.test if own == "" else 0.0
    return share(
        digest_of(text), Shares(collection.validation, test), "" if drawn else own
    )


def _folder(source: str) -> Path:
    """Find the folder of a collection.

    Raises:
        UserError: there is none.
    """
    known = COLLECTIONS.get(source)
    folder = known.root if known else Path(os.path.expanduser(source))
    if folder is not None and folder.is_dir():
        return folder
    if known:
        where = f"it is not in {folder}" if folder else "$LM_JAX_DATA is not set"
        told = " ".join([f"{where}.", *namesakes(source, folder)])
        raise UserError(f"No collection '{source}' here: {told}")
    raise UserError(
        f"There is no folder or collection '{source}'.{nearest(source, COLLECTIONS)}"
    )


def _variants(folder: Path, name: str) -> list[Path]:
    paths = (folder / f"{name}{end}" for end in ("", *COMPRESSED))
    return [path for path in paths if path.is_file()]


def _found(folder: Path, names: Iterable[str]) -> list[Path]:
    return [path for name in names for path in _variants(folder, name)]


def _one(folder: Path, *names: str) -> Path:
    """Find a file by one of its names: the first that is there.

    Raises:
        UserError: there is none.
    """
    found = _found(folder, names)
    if not found:
        raise UserError(
            f"{folder} is no test collection: it lacks {' or '.join(names)} (plain or "
            "compressed). BEIR's have corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv."
        )
    return found[0]


def _unread(folder: Path) -> str:
    """Say which of several files that could be read is."""
    files = (_DOCUMENTS, _QUERIES, *_JUDGED.values())
    if _variants(folder, _CRANFIELD[0]):
        files = tuple((name,) for name in _CRANFIELD)
    said = ""
    for first, *others in filter(None, (_found(folder, names) for names in files)):
        names = ", ".join(path.relative_to(folder).as_posix() for path in others)
        own = first.relative_to(folder).as_posix()
        said += f" {own} is read, and not {names} beside it." if others else ""
    return said


def _documents(folder: Path, cranfield: bool) -> Iterator[tuple[str, str, str]]:
    if cranfield:
        return cranfield_documents(_one(folder, "cran.all.1400"))
    return beir_documents(_one(folder, *_DOCUMENTS))


def _asked(
    folder: Path, cranfield: bool
) -> tuple[list[Query], dict[str, dict[str, dict[str, int]]]]:
    """Give the queries, and the grades of each split ("" is of none) by query.

    Raises:
        UserError: there are no judgements; a query is in two splits.
    """
    if cranfield:
        queries = list(cranfield_queries(_one(folder, "cran.qry")))
        return queries, {"": cranfield_judgements(_one(folder, "cranqrel"))}
    queries = list(beir_queries(file := _one(folder, *_QUERIES)))
    if len(dict(queries)) < len(queries):
        again = Counter(query for query, _ in queries).most_common(1)[0][0]
        raise UserError(f"{file} has several queries of the id '{again}'.")
    judged: dict[str, dict[str, dict[str, int]]] = {}
    seen: dict[str, str] = {}
    for split, names in _JUDGED.items():
        for path in _found(folder, names)[:1]:
            judged[split] = beir_judgements(path)
            for query in judged[split]:
                if seen.setdefault(query, split) != split:
                    raise UserError(
                        f"{path}: the query '{query}' is judged in '{seen[query]}' "
                        "too: each is of one split."
                    )
    if not judged:
        raise UserError(
            f"{folder} has queries and no judgements: they stand in qrels/train.tsv, "
            "qrels/dev.tsv or qrels/test.tsv, as query-id, corpus-id and score with "
            "tabs between."
        )
    return queries, judged
