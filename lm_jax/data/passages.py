"""Queries with passages that answer them: what a bi-encoder learns from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Int, Int32

from lm_jax.bounds import SIZES, check, within
from lm_jax.data.examples import check_lengths, read_whole, side_by_side
from lm_jax.data.fields import Field
from lm_jax.data.order import Buckets, bucket_windows, sort_by_length
from lm_jax.data.prepared import Prepared, Searchable
from lm_jax.data.tokens import Progress, Tokens, tokenize
from lm_jax.data.windows import Row, Windows
from lm_jax.errors import UserError
from lm_jax.text import Collection, Judged, read_collection
from lm_jax.text.found import Text
from lm_jax.text.rankings import Ranked, read_rankings
from lm_jax.text.splitting import Piece
from lm_jax.tokenizers import Subwords, Tokenizer, Trained


class Pair(NamedTuple):
    """A query and a passage that answers it, by their places among the tokens.

    Attributes:
        query: the document of the split that is the query.
        split: that it is of.
        passages: the one that answers, then its hard negatives; -1 is none.
        skipped: tokens that the first passage loses at its beginning: its title,
            where that is the query.
    """

    query: int
    split: str
    passages: tuple[int, ...]
    skipped: int = 0


@dataclass(frozen=True)
class Passages:
    """Each query beside a passage that answers it, and some that don't.

    A row is a pair of a query with a judgement above 0. The tokenizer is trained on
    all documents, and on the queries of training. Every text keeps the end that is its
    last token, wherever it is cut.
    """

    gives: ClassVar[tuple[str, ...]] = (
        *("query_inputs", "query_segments", "passage_inputs", "passage_segments"),
        *("query", "passage", "mask"),
    )

    corpus: Collection = Collection()
    tokenizer: Tokenizer = Subwords()
    query_length: int = within(SIZES, 64)
    """Tokens of a query."""
    lengths: tuple[int, ...] = (128, 256)
    """Tokens of a passage, the shortest first."""
    titles: bool = False
    """Whether training has each document's title as a query for the rest of it too."""
    negatives: str = ""
    """A file of rankings, as `search --write` makes them: what stands first in them and
    answers nothing are hard negatives."""
    hard: int = within("[0, 1000]", 0)
    """Hard negatives of each query; those of a query without a ranking are empty."""

    def __post_init__(self) -> None:
        """Refuse lengths that don't grow, and negatives from nowhere."""
        check(self, "data")
        check_lengths(self.lengths)
        if bool(self.negatives) != bool(self.hard):
            raise UserError(
                f"data.negatives={self.negatives!r} and data.hard={self.hard}: give "
                "the file of rankings and how many to take, or neither."
            )

    def prepare(self, cache: Path, progress: Progress | None = None) -> Prepared:
        """Read, train the tokenizer and tokenize, or find what is in the cache.

        Raises:
            UserError: whatever is wrong with the collection, the rankings, the
                tokenizer's size or the space on disk.
        """
        judged = read_collection(self.corpus)
        text = _text(judged, self.titles)
        made = tokenize([text], self.tokenizer, True, cache, progress)
        if made.tokenizer.end_id is None:
            raise UserError(
                "Passages need a token that ends a document, and this tokenizer has "
                "none. Use Subwords(), Words(), Terms() or Characters()."
            )
        ranked = read_rankings(self.negatives) if self.negatives else {}
        pairs = _pairs(judged, made.splits["train"], self.titles, ranked, self.hard)
        rows = _Rows(self, judged, made.splits, made.tokenizer)
        of = {
            split: [pair for pair in pairs if pair.split == split]
            for split in made.splits
        }
        if self.hard and all(max(pair.passages[1:]) < 0 for pair in of["train"]):
            raise UserError(
                f"{self.negatives} ranks no query of training of this collection: "
                "mine with --split train."
            )

        def windows(split: str, batch: int) -> Windows:
            return bucket_windows(rows.buckets(of[split]), batch)

        return Prepared(
            tokenizer=made.tokenizer,
            splits=made.splits,
            statement="\n".join([made.statement, *_about(of, judged, self)]),
            digest=self._with_pairs(made.digest, judged, ranked),
            text=self._with_pairs(made.text, judged, {}),
            context=self.lengths[-1],
            fields=passage_fields(self.query_length, 1 + self.hard),
            examples=partial(_unpaired, self.corpus.source),
            buckets=rows.buckets(of["train"]) if of["train"] else None,
            windows=windows,
            searchable=rows.searchable(),
        )

    def _with_pairs(self, digest: str, judged: Judged, ranked: Ranked) -> str:
        what = (judged.digest, self.titles, self.hard, sorted(ranked.items()), digest)
        return sha256(repr(what).encode()).hexdigest()[:20]


def passage_fields(query_length: int, passages: int) -> tuple[Field, ...]:
    """Give the fields of queries with so many passages, the answering one first."""
    texts, number = (passages, "length"), "the number of its text"
    real = "1 where a token stands, 0 where padding"
    return (
        Field("query_inputs", (query_length,), "int32", "the tokens of the query"),
        Field("query_segments", (query_length,), "int32", real),
        Field("passage_inputs", texts, "int32", "the tokens of each passage"),
        Field("passage_segments", texts, "int32", real),
        Field("query", (), "int32", f"the query: {number}"),
        Field("passage", (passages,), "int32", f"each passage: {number}; -1 is none"),
        Field("mask", (), "float32", "1 where the loss counts, 0 where it doesn't"),
    )


def _unpaired(source: str, rows: int) -> int:
    raise UserError(
        f"The collection '{source}' has no query to train on. Use data.titles, which "
        "makes queries of its titles, or one with judgements for training."
    )


def _text(judged: Judged, titles: bool) -> Text:
    """Give documents, their titles where these are queries, and queries, as a text."""

    def pieces() -> Iterator[Piece]:
        for passage in judged.texts:
            yield Piece("train", passage, True)
        for document in judged.documents if titles else ():
            yield Piece("train", document.title, True)
        for split, queries in judged.queries.items():
            for query in queries.values():
                yield Piece(split, query, True)

    def no_labels() -> Iterator[tuple[str, str]]:
        raise UserError("Passages have judgements in the place of labels.")

    size = sum(len(text.encode()) for text in judged.texts)
    digest = f"{judged.digest} {judged.text_digest} {titles}"
    return Text(digest, judged.statement, True, size, pieces, no_labels)


def _pairs(
    judged: Judged, train: Tokens, titles: bool, ranked: Ranked, hard: int
) -> list[Pair]:
    """Give each pair of a query with what answers it, and with its negatives."""
    none = (-1,) * hard
    found = []
    first = dict.fromkeys(judged.queries, 0)
    first["train"] = len(judged.documents) * (1 + titles)
    for k, document in enumerate(judged.documents if titles else ()):
        title = len(judged.documents) + k
        length = int(train.documents[title + 1] - train.documents[title]) - 1
        whole = int(train.documents[k + 1] - train.documents[k]) - 1
        skipped = length if document.whole(True) == judged.texts[k] else 0
        if length > 0 and skipped < whole:
            found.append(Pair(title, "train", (k, *none), skipped))
    for split, queries in judged.queries.items():
        for number, query in enumerate(queries, first[split]):
            answers = [judged.place[d] for d, g in judged.grades[query].items() if g]
            mined = _negatives(judged, answers, ranked.get(query, ()), hard)
            found += [Pair(number, split, (answer, *mined)) for answer in answers]
    return found


def _negatives(
    judged: Judged, answers: list[int], ranking: tuple[str, ...], hard: int
) -> tuple[int, ...]:
    """Take what stands first in a ranking and has the text of no answer.

    Raises:
        UserError: the ranking is of another collection.
    """
    right = {judged.same[answer] for answer in answers}
    if unknown := [document for document in ranking if document not in judged.place]:
        raise UserError(
            f"data.negatives ranks a document '{unknown[0]}', which the collection "
            "lacks: it is of another collection."
        )
    places = [judged.place[document] for document in ranking]
    wrong = [place for place in places if judged.same[place] not in right]
    return tuple([*wrong[:hard], *[-1] * hard][:hard])


def _about(
    of: Mapping[str, list[Pair]], judged: Judged, data: Passages
) -> Iterator[str]:
    counts = ", ".join(f"{len(pairs):,} of {split}" for split, pairs in of.items())
    made = f", {len(judged.documents):,} titles among the queries" * data.titles
    yield f"Pairs of a query and what answers it: {counts}{made}."
    if data.hard:
        whole = sum(min(pair.passages) >= 0 for pair in of["train"])
        yield (
            f"{whole:,} pairs of training have {data.hard} hard negatives of "
            f"{data.negatives}."
        )


class _Rows(NamedTuple):
    """The rows of all splits."""

    data: Passages
    judged: Judged
    splits: Mapping[str, Tokens]
    tokenizer: Trained

    def buckets(self, pairs: list[Pair]) -> Buckets:
        """Sort pairs by the length of their longest passage."""
        own = len(read_whole(self.tokenizer, np.empty(0, np.int32))) - 1
        ends = np.diff(self.splits["train"].documents) + own
        sizes = [
            max(int(ends[place]) for place in pair.passages if place >= 0)
            for pair in pairs
        ]

        def row(example: int, length: int) -> Row:
            return self.row(pairs[example], length)

        return sort_by_length(np.array(sizes, np.int64), self.data.lengths, row)

    def row(self, pair: Pair, length: int) -> Row:
        """Give the arrays of a pair, padded by zeros."""
        query = self.tokens(pair.split, pair.query)
        texts = [
            self.tokens("train", place) if place >= 0 else np.empty(0, np.int32)
            for place in pair.passages
        ]
        if pair.skipped:
            rest = self._alone("train", pair.passages[0])[pair.skipped :]
            texts[0] = read_whole(self.tokenizer, rest)
        passages = [cut(ids, length) for ids in texts]
        # One text is one passage, under whatever ids it stands.
        numbers = [self.judged.same[p] if p >= 0 else -1 for p in pair.passages]
        split = [*self.judged.queries, pair.split].index(pair.split)
        return {
            **_padded("query", [query], self.data.query_length, alone=True),
            **_padded("passage", passages, length),
            "query": np.array(pair.query * 4 + split, np.int32),
            "passage": np.array(numbers, np.int32),
            "mask": np.array(1.0, np.float32),
        }

    def tokens(self, split: str, place: int) -> Int32[np.ndarray, " tokens"]:
        """Give the tokens of a text, with what stands around it."""
        return read_whole(self.tokenizer, self._alone(split, place))

    def _alone(self, split: str, place: int) -> Int32[np.ndarray, " tokens"]:
        tokens = self.splits[split]
        first, last = tokens.documents[place : place + 2]
        return np.asarray(tokens.ids[first : last - 1], np.int32)

    def searchable(self) -> Searchable:
        """Give the collection in tokens, uncut."""
        count = len(self.judged.documents)
        first = dict.fromkeys(self.judged.queries, 0)
        first["train"] = count * (1 + self.data.titles)
        queries = {
            split: [self.tokens(split, first[split] + k) for k in range(len(of))]
            for split, of in self.judged.queries.items()
        }
        passages = [self.tokens("train", place) for place in range(count)]
        lengths = self.data.query_length, self.data.lengths[-1]
        return Searchable(self.judged, passages, queries, *lengths)


def cut(ids: Int[np.ndarray, " tokens"], length: int) -> Int[np.ndarray, " kept"]:
    """Cut a text to so many tokens; its last one, the end, stays."""
    return ids if len(ids) <= length else np.append(ids[: length - 1], ids[-1:])


def _padded(
    name: str, texts: list[np.ndarray], length: int, alone: bool = False
) -> Row:
    rows = [side_by_side([cut(ids, length)], length) for ids in texts]
    return {
        f"{name}_{field}": rows[0][field]
        if alone
        else np.stack([row[field] for row in rows])
        for field in ("inputs", "segments")
    }
