"""Pairs of texts with a rating, each text read by itself: how alike they are."""

from dataclasses import dataclass, replace
from hashlib import sha256
from math import isfinite
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float32

from lm_jax.bounds import SIZES, check, within
from lm_jax.data.examples import (
    check_lengths,
    cut_statement,
    drawn,
    limit_statement,
    read_examples,
    read_whole,
    side_by_side,
)
from lm_jax.data.fields import Field
from lm_jax.data.order import Buckets, bucket_windows, sort_by_length
from lm_jax.data.passages import cut
from lm_jax.data.prepared import Prepared
from lm_jax.data.rated import named_by_values, read_values
from lm_jax.data.tokens import Progress, Tokens
from lm_jax.data.windows import Row, Windows
from lm_jax.errors import UserError
from lm_jax.text import Columns, Corpus, find
from lm_jax.tokenizers import Tokenizer, Trained, Words

Values = Float32[np.ndarray, " pairs"]


@dataclass(frozen=True)
class RatedPairs:
    """Pairs of texts, each read by itself, with a rating of how alike they are.

    A row is a pair. Both texts are padded to the shortest of `lengths` that they fit;
    what one has beyond the longest is cut off, and its end stays. Around each stands
    what stands around a text that is read alone, as BERT's [CLS] and [SEP]. `Rated`
    reads both as one text.
    """

    gives: ClassVar[tuple[str, ...]] = (
        *("first_inputs", "first_segments", "second_inputs", "second_segments"),
        *("value", "mask"),
    )

    corpus: Corpus = Corpus("stsb")
    """The pairs."""
    tokenizer: Tokenizer = Words()
    value: str = "score"
    """Column of the ratings, where the corpus is a table."""
    scale: tuple[float, float] = (0.0, 5.0)
    """Ratings that are a cosine of 0, and of 1."""
    lengths: tuple[int, ...] = (16, 32, 64)
    """Tokens of a text, the shortest first."""
    pair: str = ""
    """Column of second texts, where the corpus is a table."""
    limit: int | None = within(SIZES, None)
    """Pairs of the training split to learn from, drawn by chance, the same for every
    seed; None takes all."""

    def __post_init__(self) -> None:
        """Refuse lengths that don't grow, no rows, and a scale that doesn't rise."""
        check_lengths(self.lengths)
        check(self, "data")
        low, high = self.scale
        if not (isfinite(low) and isfinite(high) and low < high):
            raise UserError(
                f"data.scale={self.scale}: give the rating of texts that have nothing "
                "in common, then the higher one of texts that say the same."
            )

    def prepare(self, cache: Path, progress: Progress | None = None) -> Prepared:
        """Read, train the tokenizer and tokenize, or find what is in the cache.

        Raises:
            UserError: as `Rated.prepare`; texts are no pairs; a rating lies outside
                the scale.
        """
        text = find(
            self.corpus, cache, Columns(self.value, (self.pair,) if self.pair else ())
        )
        if text.together != 2:
            raise UserError(
                f"The corpus '{self.corpus.source}' has no pairs of texts. Give the "
                "column of the second ones: data.pair."
            )
        values = read_values(text)
        self._check_scale(values)
        made = read_examples(text, self.tokenizer, cache, progress)

        def buckets(split: str) -> Buckets:
            limit = self.limit if split == "train" else None
            return self._buckets(
                made.splits[split], values[split], made.tokenizer, limit
            )

        def windows(split: str, batch: int) -> Windows:
            return bucket_windows(buckets(split), batch)

        (low, high), given = self.scale, values["train"]
        about = [
            f"Ratings of the training split: {given.min():g} to {given.max():g}; "
            f"{low:g} is a cosine of 0, {high:g} of 1.",
            *limit_statement(made.splits["train"], self.limit, 2),
            *cut_statement(made.splits, self.lengths[-1], 1, made.tokenizer.around),
        ]
        name = named_by_values(made.digest, self.value, self.limit)
        return Prepared(
            tokenizer=made.tokenizer,
            splits=made.splits,
            statement="\n".join([made.statement, *about]),
            digest=sha256(f"pairs {low} {high}\n{name}".encode()).hexdigest()[:20],
            text=named_by_values(made.text, self.value, self.limit),
            context=self.lengths[-1],
            fields=rated_pair_fields(),
            buckets=buckets("train"),
            windows=windows,
        )

    def _check_scale(self, values: dict[str, Values]) -> None:
        """Refuse ratings outside the scale.

        Raises:
            UserError: naming the first.
        """
        low, high = self.scale
        for split, given in values.items():
            outside = np.flatnonzero((given < low) | (given > high))
            if len(outside):
                raise UserError(
                    f"Pair {outside[0] + 1:,} of the split '{split}' is rated "
                    f"{given[outside[0]]:g}, and data.scale={self.scale}. Give the "
                    "lowest and highest rating that there can be."
                )

    def _buckets(
        self, tokens: Tokens, values: Values, tokenizer: Trained, limit: int | None
    ) -> Buckets:
        """Sort pairs by the longer one of their texts."""
        around = len(read_whole(tokenizer, np.empty(0, np.int32)))
        if self.lengths[-1] <= around:
            raise UserError(
                f"data.lengths={self.lengths}: {around} tokens of a text stand around "
                f"it, and leave no room for it. Give {around + 1} or more."
            )
        bounds, (low, high) = np.asarray(tokens.documents), self.scale
        chosen = drawn(len(values), limit)
        sizes = (np.diff(bounds) - 1 + around).reshape(-1, 2)[chosen]

        def row(number: int, length: int) -> Row:
            example = int(chosen[number])
            made: Row = {}
            for name, place in (("first", 2 * example), ("second", 2 * example + 1)):
                ids = np.asarray(
                    tokens.ids[bounds[place] : bounds[place + 1] - 1], np.int32
                )
                whole = cut(read_whole(tokenizer, ids), length)
                padded = side_by_side([whole], length)
                made |= {f"{name}_{field}": array for field, array in padded.items()}
            made["value"] = np.array((values[example] - low) / (high - low), np.float32)
            return made | {"mask": np.array(1.0, np.float32)}

        found = sort_by_length(sizes.max(1), self.lengths, row)
        return replace(found, tokens=int(np.minimum(sizes, self.lengths[-1]).sum()))


def rated_pair_fields() -> tuple[Field, ...]:
    """Give the fields of pairs of texts that are read apart."""
    real = "1 where a token stands, 0 where padding"
    texts = [
        Field(f"{name}_{field}", ("length",), "int32", meaning)
        for name in ("first", "second")
        for field, meaning in (
            ("inputs", f"the tokens of the {name} text"),
            ("segments", real),
        )
    ]
    return (
        *texts,
        Field("value", (), "float32", "the rating of the pair, from 0 to 1"),
        Field("mask", (), "float32", "1 where the loss counts, 0 where it doesn't"),
    )
