"""Pairs of a text that is read and one that is written: translations, summaries."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int32, Int64

from lm_jax.bounds import SIZES, check, within
from lm_jax.data.examples import check_lengths, read_examples
from lm_jax.data.fields import Field, mask, targets
from lm_jax.data.frame import Frame
from lm_jax.data.order import Buckets, bucket_windows, sort_by_length
from lm_jax.data.prepared import Prepared
from lm_jax.data.synthetic import limited, with_written
from lm_jax.data.tokens import Progress, Tokens
from lm_jax.data.windows import Row, Windows
from lm_jax.errors import UserError
from lm_jax.text import Corpus, find_pairs
from lm_jax.text.found import Text
from lm_jax.tokenizers import Subwords, Tokenizer


@dataclass(frozen=True)
class TextPairs:
    """Sources, each with the target that is to be written of it.

    Both have one vocabulary, and an end; a target begins after that of another text,
    as in Sutskever et al. 2014. A row is as long as the shortest of `lengths` that
    source and target both fit; of what is longer, the beginning is kept, and the end.
    """

    gives: ClassVar[tuple[str, ...]] = (
        "source",
        "source_mask",
        "decoder_inputs",
        "targets",
        "mask",
    )

    corpus: Corpus = Corpus("multi30k")
    """The pairs; where they are a table, its column is that of the sources. Of
    questions on passages (a known name, or a file in SQuAD's form) a source is a
    question with its passage, and a target is an answer."""
    tokenizer: Tokenizer = Subwords()
    target: str = ""
    """Column of the targets, where the corpus is a table."""
    turned: bool = False
    """Whether the second text of a pair is read, and the first is written. Both ways
    hold out the same pairs of a corpus without splits, by its first texts; where the
    second is read, none of training is one that is held out."""
    lengths: tuple[int, ...] = (16, 32, 64)
    """Tokens of a source, and of a target, with their ends; the shortest first."""
    target_length: int | None = within(SIZES, None)
    """Tokens of every target, where they are much shorter than the sources."""
    limit: int | None = within(SIZES, None)
    """Pairs of the training split to learn from, drawn by chance; all where None."""
    synthetic: str = ""
    """Pairs to add to these: a file that `generate RUN --prompts TARGETS --json` wrote,
    by a run of the other direction (back-translation)."""

    def __post_init__(self) -> None:
        """Refuse lengths that don't grow, or hold no token."""
        check(self, "data")
        check_lengths(self.lengths)

    def prepare(self, cache: Path, progress: Progress | None = None) -> Prepared:
        """Read, train the tokenizer and tokenize, or find what is in the cache.

        Raises:
            UserError: whatever is wrong with the corpus, the tokenizer's size or the
                space on disk; it has no pairs.
        """
        others = (self.target,) if self.target else ()
        text = find_pairs(self.corpus, others, cache, turned=self.turned)
        if text.together != 2:
            raise UserError(
                f"{self.corpus.source} has no pairs. Name the column of the targets "
                "of a table (--data.target NAME), or take multi30k, tatoeba or squad."
            )
        text = limited(text, self.limit)
        text = with_written(text, self.synthetic, self.turned)
        made = read_examples(text, self.tokenizer, cache, progress)
        end = made.tokenizer.end_id
        assert end is not None, "Rows of two texts are refused without an end."
        frame = Frame((end,), end, after=(end,))
        how = self.turned, self.lengths, self.target_length
        rows = {split: _Rows(t, *how) for split, t in made.splits.items()}

        def windows(split: str, batch: int) -> Windows:
            return bucket_windows(rows[split].buckets(), batch)

        def asked(source: Any, length: int) -> Int32[np.ndarray, " tokens"]:
            return frame.source(made.tokenizer.encode(source), self.lengths[-1])

        return Prepared(
            tokenizer=made.tokenizer,
            splits=made.splits,
            statement="\n".join([made.statement, *self._told(rows)]),
            digest=self._turned(made.digest),
            text=self._turned(made.text),
            context=self.lengths[-1],
            fields=pair_fields(self.target_length or "length"),
            buckets=rows["train"].buckets(),
            windows=windows,
            frame=frame,
            pairs=raw_pairs(text, self.turned),
            asked=asked,
        )

    def _turned(self, digest: str) -> str:
        said = f"{self.target}\nturned {self.turned}\n{digest}"
        return sha256(said.encode()).hexdigest()[:20]

    def _told(self, rows: dict[str, "_Rows"]) -> Iterator[str]:
        """Say how many texts are cut; nothing where none is."""
        longest = " and ".join(map(str, dict.fromkeys(rows["train"].longest)))
        counts = {split: each.cut().sum(0) for split, each in rows.items()}
        if any(count.any() for count in counts.values()):
            of = "; ".join(f"{s:,} and {t:,} of {n}" for n, (s, t) in counts.items())
            yield f"Sources and targets that are cut to {longest} tokens: {of}."


def pair_fields(target: int | str = "length") -> tuple[Field, ...]:
    """Give the fields of sources with a target.

    Args:
        target: tokens of a target; "length" is as many as of a source.
    """
    read = ("length",)
    return (
        Field("source", read, "int32", "the tokens that are read, from both sides"),
        Field("source_mask", read, "bool", "true where the source has a token"),
        Field("decoder_inputs", (target,), "int32", "the token before each target"),
        targets(target),
        mask(target),
    )


def raw_pairs(
    text: Text, turned: bool = False
) -> Callable[[str], Iterator[tuple[str, str]]]:
    """Give what yields the (source, target) of each row of a split, as they stand.

    Args:
        text: of two texts a row.
        turned: whether the second is the source.
    """

    def pairs(split: str) -> Iterator[tuple[str, str]]:
        pieces = text.pieces()
        for first, second in zip(pieces, pieces, strict=True):
            if first.split == split:
                both = first.text, second.text
                yield both[::-1] if turned else both

    return pairs


@dataclass(frozen=True)
class _Rows:
    """The rows of a split.

    Attributes:
        tokens: both texts of each pair, an end after each.
        turned: whether the second is the source.
        lengths: that rows have.
        target_length: of the targets; None is that of the row.
    """

    tokens: Tokens
    turned: bool
    lengths: tuple[int, ...]
    target_length: int | None

    @property
    def longest(self) -> tuple[int, int]:
        """The most tokens of a source, and of a target."""
        return self.lengths[-1], self.target_length or self.lengths[-1]

    def sizes(self) -> Int64[np.ndarray, "rows 2"]:
        """Give the tokens of each source and target, with their ends."""
        both = np.diff(self.tokens.documents).reshape(-1, 2)
        return both[:, ::-1] if self.turned else both

    def cut(self) -> np.ndarray:
        """Say which sources and targets are cut."""
        return self.sizes() > np.array(self.longest)

    def buckets(self) -> Buckets:
        """Sort the rows by the lengths that they fit."""
        sizes = self.sizes()
        fitting = sizes[:, 0] if self.target_length else sizes.max(1)
        found = sort_by_length(fitting, self.lengths, self.row)
        # A batch is counted by what is learnt: the tokens that are written.
        written = np.minimum(sizes[:, 1], self.longest[1])
        return replace(found, tokens=int(written.sum()))

    def row(self, example: int, length: int) -> Row:
        """Give the arrays of a row, padded by zeros."""
        bounds = self.tokens.documents[2 * example : 2 * example + 3]
        texts = [self.tokens.ids[a:b] for a, b in pairwise(bounds)]
        source, target = reversed(texts) if self.turned else texts
        room = self.target_length or length
        source, target = _cut(source, length), _cut(target, room)
        return {
            "source": _padded(source, length),
            "source_mask": np.arange(length) < len(source),
            "decoder_inputs": _padded(np.roll(target, 1), room),
            "targets": _padded(target, room),
            "mask": (np.arange(room) < len(target)).astype(np.float32),
        }


def _cut(ids: np.ndarray, length: int) -> np.ndarray:
    """Keep the beginning of a text that is too long, and its end."""
    return ids if len(ids) <= length else np.append(ids[: length - 1], ids[-1:])


def _padded(ids: np.ndarray, length: int) -> np.ndarray:
    return np.pad(ids.astype(np.int32), (0, length - len(ids)))
