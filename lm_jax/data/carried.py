"""A long stream read side by side in lanes, each batch going on where one ended."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import grain
import numpy as np

from lm_jax.data.fields import (
    Field,
    inputs,
    mask,
    segments,
    targets,
    text_fields,
)
from lm_jax.data.prepared import Prepared, check_context, training_tokens
from lm_jax.data.randomness import derive
from lm_jax.data.tokens import Progress, tokenize
from lm_jax.data.windows import Row, Windows
from lm_jax.errors import UserError
from lm_jax.text import Corpus, find
from lm_jax.tokenizers import Characters, Tokenizer


@dataclass(frozen=True)
class CarriedStream:
    """One long stream in as many lanes as the batch has rows, read side by side.

    Row r of a batch goes on where row r of the batch before ended, so that a
    recurrent model can carry its state (Mikolov et al. 2010); it begins anew with
    each epoch. Where the corpus is many
    documents, an end-of-document token follows each.
    """

    gives: ClassVar[tuple[str, ...]] = (
        "inputs",
        "targets",
        "mask",
        "starts",
        "segments",
        "weight",
    )

    corpus: Corpus = Corpus()
    """The text."""
    tokenizer: Tokenizer = Characters()
    context: int = 35
    """Tokens of a segment: how far gradients reach back."""
    jitter: int = 0
    """Move each border between segments by up to so many tokens, anew each
    epoch, so that gradients are not cut at the same places (after Merity et al.
    2018, 4.2). The loss is still divided by `context`, before gradients are clipped."""
    carried: bool = True
    """Whether training goes on with the state of the batch before. Evaluation always
    does: False shows what carrying it is worth."""
    evaluation_lanes: int = 10
    """Lanes of an evaluation: each but the first begins without a past."""

    def __post_init__(self) -> None:
        """Refuse segments without tokens."""
        check_context(self.context)
        if not 0 <= 2 * self.jitter < self.context:
            raise UserError(
                f"data.jitter={self.jitter}: give 0 or more, and less than half of "
                f"data.context={self.context}."
            )
        if self.evaluation_lanes < 1:
            raise UserError("data.evaluation_lanes must be 1 or more.")

    def prepare(self, cache: Path, progress: Progress | None = None) -> Prepared:
        """Read, train the tokenizer and tokenize, or find what is in the cache.

        Raises:
            UserError: whatever is wrong with the corpus, the tokenizer's size
                or the space on disk; a lane shorter than a segment.
        """
        text = find(self.corpus, cache)
        made = tokenize([text], self.tokenizer, text.documents, cache, progress)
        splits = made.splits

        def examples(batch: int) -> int:
            tokens = training_tokens(made, self.context)
            return segments_of(tokens, self.context, batch) * batch

        def train(seed: int, batch: int) -> grain.MapDataset:
            ids = splits["train"].ids
            rows = carried_rows(ids, self.context, batch, self.jitter, seed)
            return rows if self.carried else rows.map(_anew)

        def windows(split: str, batch: int) -> Windows:
            ids = splits[split].ids
            return carried_windows(ids, self.context, self.evaluation_lanes, batch)

        return Prepared(
            **made._asdict(),
            context=self.context,
            fields=carried_fields(self.context, self.jitter),
            examples=examples,
            train=train,
            windows=windows,
            lanes=self.evaluation_lanes,
        )


def carried_fields(context: int, jitter: int) -> tuple[Field, ...]:
    """Give the fields of a stream read in lanes: jitter makes lengths vary."""
    meaning = "1 where a row begins anew, 0 where it goes on with the batch before"
    starts = Field("starts", (), "int32", meaning)
    if not jitter:
        return *text_fields(context), starts
    made = (inputs, targets, mask)
    scored = [field(context, "evaluation") for field in made]
    length = context + 2 * jitter
    moved = [field(length, "training") for field in (*made, segments)]
    meaning = "what the loss is divided by in place of the targets"
    weight = Field("weight", (), "float32", meaning, "training")
    return *scored, *moved, starts, weight


def segments_of(tokens: int, context: int, lanes: int) -> int:
    """Give the segments of a lane.

    Raises:
        UserError: a lane is shorter than a segment.
    """
    lane = tokens // lanes
    if lane < context + 1:
        raise UserError(
            f"{tokens:,} tokens in {lanes} lanes (--batch) are {lane:,} each: too "
            f"short for data.context={context}. Use a smaller batch or context."
        )
    return (lane - 1) // context


def carried_rows(
    ids: np.ndarray, context: int, lanes: int, jitter: int, seed: int
) -> grain.MapDataset:
    """Give the endless rows of a stream read in lanes: row i is of lane i % lanes.

    Args:
        ids: (tokens,).
        context: tokens of a segment.
        lanes: rows of a batch.
        jitter: by how many tokens borders move; 0 leaves them.
        seed: of the jitter.
    """
    segments, length = segments_of(len(ids), context, lanes), len(ids) // lanes

    @lru_cache(maxsize=2)
    def borders(epoch: int) -> np.ndarray:
        even = np.arange(segments + 1) * context
        bits = np.random.Philox(key=derive(seed, "borders", epoch))
        moves = bits.random_raw(segments - 1) % (2 * jitter + 1)
        even[1:-1] += moves.astype(np.int64) - jitter
        return even

    def row(position: int, index: int) -> Row:
        epoch, (segment, lane) = position // (segments * lanes), divmod(index, lanes)
        starts = np.array(segment == 0, np.int32)
        if not jitter:
            start = lane * length + segment * context
            window = ids[start : start + context + 1].astype(np.int32)
            return {"inputs": window[:-1], "targets": window[1:], "starts": starts}
        first, last = (int(b) for b in borders(epoch)[segment : segment + 2])
        window = ids[lane * length + first : lane * length + last + 1]
        made = padded(window, context + 2 * jitter)
        made["segments"] = made["mask"].astype(np.int32)
        return made | {"starts": starts, "weight": np.array(context, np.float32)}

    order = grain.MapDataset.range(segments * lanes).repeat()
    return order.map_with_index(lambda position, i: row(position, int(i)))


def _anew(row: Row) -> Row:
    """A row that begins without a past."""
    return row | {"starts": np.array(1, np.int32)}


def carried_windows(ids: np.ndarray, context: int, lanes: int, batch: int) -> Windows:
    """Give evaluation batches: all lanes side by side, segment after segment.

    Each token but the first is the target of one row.

    Args:
        ids: (tokens,).
        context: tokens of a segment.
        lanes: parts that the stream is cut into.
        batch: rows of a batch, at least ``lanes``; those left are padding.
    """
    bounds = np.linspace(0, len(ids) - 1, lanes + 1).astype(np.int64)
    segments = -(-int(np.diff(bounds).max()) // context)

    def row(index: int) -> Row:
        segment, lane = divmod(index, batch)
        if lane >= lanes:
            return padded(ids[:0], context) | {"starts": np.array(0, np.int32)}
        start = bounds[lane] + segment * context
        stop = min(start + context, bounds[lane + 1])
        window = ids[start : max(start, stop + 1)]
        return padded(window, context) | {"starts": np.array(segment == 0, np.int32)}

    return Windows(segments * batch, row, batch)


def padded(window: np.ndarray, length: int) -> Row:
    """Give the row of a window of (tokens + 1,), padded by zeros."""
    real = max(0, len(window) - 1)
    missing = length - real
    window = window.astype(np.int32)
    return {
        "inputs": np.pad(window[:real], (0, missing)),
        "targets": np.pad(window[1 : real + 1], (0, missing)),
        "mask": np.pad(np.ones(real, np.float32), (0, missing)),
    }
