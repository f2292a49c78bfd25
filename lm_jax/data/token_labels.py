"""Sentences whose words have a label each: what a tagger learns from."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Int32

from lm_jax.data.examples import check_lengths
from lm_jax.data.fields import Field, inputs, mask, segments
from lm_jax.data.labelled import read_labels
from lm_jax.data.order import Buckets, bucket_windows, sort_by_length
from lm_jax.data.pieces import Cutter
from lm_jax.data.prepared import Prepared
from lm_jax.data.tokens import Progress, tokenize
from lm_jax.data.windows import Row, Windows
from lm_jax.errors import UserError
from lm_jax.text import Corpus
from lm_jax.text.conll import Sentence, check_no_table, read_conll
from lm_jax.text.folders import files_of, own_splits
from lm_jax.text.found import Text
from lm_jax.text.reading import check_unchanged, measure
from lm_jax.text.splitting import Piece, digest_of, drawn_beside, share
from lm_jax.text.stores import where
from lm_jax.tokenizers import Tokenizer, Words


@dataclass(frozen=True)
class TokenLabels:
    """Sentences of labelled words, in CoNLL's form: a word and its label a line.

    A word of several tokens has its label at the first (Devlin et al. 2019, 5.3). A
    sentence that is longer than the longest row is read in several.
    """

    gives: ClassVar[tuple[str, ...]] = ("inputs", "segments", "tags", "mask")

    corpus: Corpus
    """A file, or a folder of files that are named after their splits."""
    tokenizer: Tokenizer = Words()
    lengths: tuple[int, ...] = (16, 32, 64, 128)
    """Tokens of a row, the shortest first."""
    classes: tuple[str, ...] = ()
    """Names of the labels, in any order; those of the training split, if empty."""

    def __post_init__(self) -> None:
        """Refuse lengths that don't grow, or hold no token."""
        check_lengths(self.lengths)

    def prepare(self, cache: Path, progress: Progress | None = None) -> Prepared:
        """Read, train the tokenizer and cut, or find what is in the cache.

        Raises:
            UserError: whatever is wrong with the files, the tokenizer's size or the
                space on disk; a word without label; labels that training lacks.
        """
        text, sentences = _read(self.corpus, cache)
        names, labels = read_labels(
            text, self.classes, lambda split, k: _place(sentences[split], k)
        )
        made = tokenize([text], self.tokenizer, True, cache, progress)
        cutter = Cutter(made.tokenizer)
        of = {
            split: _rows_of(sentences[split], told, cutter, self.lengths[-1])
            for split, told in labels.items()
        }

        def buckets(split: str) -> Buckets:
            return _buckets(of[split], self.lengths)

        def windows(split: str, batch: int) -> Windows:
            return bucket_windows(buckets(split), batch)

        more = {s: len(rows) - len(sentences[s]) for s, rows in of.items()}
        longer = f"Longer sentences are read in {sum(more.values()):,} more rows."
        told = f"Labels: {', '.join(names)}."
        digest = sha256(f"{sorted(self.classes)}\n{made.digest}".encode())
        return Prepared(
            tokenizer=made.tokenizer,
            splits=made.splits,
            statement="\n".join([made.statement, told, *[longer] * any(more.values())]),
            digest=digest.hexdigest()[:20],
            text=made.text,
            context=self.lengths[-1],
            fields=tag_fields(),
            labels=names,
            buckets=buckets("train"),
            windows=windows,
            sentences={split: [row.sentence for row in of[split]] for split in of},
        )


def tag_fields() -> tuple[Field, ...]:
    """Give the fields of sentences of labelled words."""
    meaning = "the label of each word at its first token, -1 at all others"
    tags = Field("tags", ("length",), "int32", meaning)
    return inputs("length"), segments("length"), tags, mask("length")


def _read(corpus: Corpus, cache: Path) -> tuple[Text, dict[str, list[Sentence]]]:
    """Read the sentences of a corpus, by split.

    Raises:
        UserError: there are none, or they can't be read.
    """
    path = where(corpus.source, cache)
    if not path.exists():
        raise UserError(f"There is no file or folder {path} of labelled words.")
    files = files_of(path, cache)
    for file in files.paths:
        check_no_table(file)
    measures = [measure(file, cache) for file in files.paths]
    own = own_splits(files.paths, corpus.validation)
    shares = drawn_beside(own, corpus.shares)
    sentences: dict[str, list[Sentence]] = {}
    for file, name, found in zip(files.paths, own, measures, strict=True):
        for sentence in read_conll(file):
            digest = digest_of(" ".join(sentence.words))
            split = share(digest, shares, name)
            sentences.setdefault(split, []).append(sentence)
        check_unchanged(file, found["stamp"])

    def pieces() -> Iterator[Piece]:
        for split, found in sentences.items():
            for sentence in found:
                yield Piece(split, " ".join(sentence.words), True)

    def labels() -> Iterator[tuple[str, str]]:
        for split, found in sentences.items():
            for sentence in found:
                yield from ((split, label) for label in sentence.labels)

    counts = ", ".join(f"{len(s):,} of {split}" for split, s in sentences.items())
    recipe = [[found["sha256"] for found in measures], own, shares]
    return Text(
        sha256(json.dumps(recipe).encode()).hexdigest(),
        "\n".join([f"{path}: sentences, {counts}.", *files.notes]),
        True,
        sum(found["bytes"] for found in measures),
        pieces,
        labels,
    ), sentences


def _place(sentences: list[Sentence], number: int) -> str:
    """Say where the word of a number among all of some sentences stands."""
    for sentence in sentences:
        if number < len(sentence.words):
            break
        number -= len(sentence.words)
    return sentence.place(number)


class _Row(NamedTuple):
    """The tokens of a row, and the label of each; -1 where a word goes on."""

    sentence: int
    ids: Int32[np.ndarray, " tokens"]
    tags: Int32[np.ndarray, " tokens"]


def _rows_of(
    sentences: list[Sentence],
    labels: Int32[np.ndarray, " words"],
    cutter: Cutter,
    longest: int,
) -> list[_Row]:
    """Cut sentences into rows of whole words.

    Raises:
        UserError: a word has more tokens than a row, or none.
    """
    rows, left = [], iter(labels.tolist())

    def row(number: int, ids: list[int], tags: list[int]) -> _Row:
        return _Row(number, np.array(ids, np.int32), np.array(tags, np.int32))

    for number, sentence in enumerate(sentences):
        ids: list[int] = []
        tags: list[int] = []
        for k, tokens in enumerate(cutter.encoded(sentence.words)):
            if not 0 < len(tokens) <= longest:
                raise UserError(
                    f"{sentence.place(k)}: the word {sentence.words[k]!r} has "
                    f"{len(tokens)} tokens, and a row 1 to {longest} (data.lengths). "
                    "Take it out, or use another tokenizer."
                )
            if len(ids) + len(tokens) > longest:
                rows.append(row(number, ids, tags))
                ids, tags = [], []
            ids += tokens.tolist()
            tags += [next(left), *[-1] * (len(tokens) - 1)]
        rows.append(row(number, ids, tags))
    return rows


def _buckets(rows: list[_Row], lengths: tuple[int, ...]) -> Buckets:
    """Sort rows by the lengths that they fit."""

    def row(number: int, length: int) -> Row:
        _, ids, tags = rows[number]
        missing = length - len(ids)
        return {
            "inputs": np.pad(ids, (0, missing)),
            "segments": np.pad(np.ones(len(ids), np.int32), (0, missing)),
            "tags": np.pad(tags, (0, missing), constant_values=-1),
            "mask": np.pad((tags >= 0).astype(np.float32), (0, missing)),
        }

    return sort_by_length(np.array([len(row.ids) for row in rows]), lengths, row)
