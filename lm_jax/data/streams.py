"""Contexts cut from one long stream of tokens."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import grain
import numpy as np

from lm_jax.data.fields import text_fields
from lm_jax.data.prepared import Prepared, check_context, training_tokens
from lm_jax.data.randomness import derive, endless
from lm_jax.data.tokens import Progress, tokenize
from lm_jax.data.windows import Row, Windows, stream_window, windows_of
from lm_jax.errors import UserError
from lm_jax.text import Corpus, find
from lm_jax.tokenizers import Characters, Tokenizer


@dataclass(frozen=True)
class TokenStream:
    """One long stream of tokens, cut into contexts.

    Where the corpus is many documents, an end-of-document token follows each.
    """

    gives: ClassVar[tuple[str, ...]] = ("inputs", "targets", "mask")

    corpus: Corpus = Corpus()
    """The text."""
    tokenizer: Tokenizer = Characters()
    context: int = 256
    """Tokens of one example."""
    stride: int | None = None
    """Tokens between the starts of two windows of an evaluation: each token is scored
    once, with at least context - stride before it. None is the context."""

    def __post_init__(self) -> None:
        """Refuse a context without tokens, and windows with gaps between them."""
        check_context(self.context)
        if self.stride is not None and not 1 <= self.stride <= self.context:
            raise UserError(
                f"data.stride={self.stride}: give 1 to data.context={self.context}, or "
                "None for windows side by side."
            )

    def prepare(self, cache: Path, progress: Progress | None = None) -> Prepared:
        """Read, train the tokenizer and tokenize, or find what is in the cache.

        Raises:
            UserError: whatever is wrong with the corpus, the tokenizer's size
                or the space on disk; a training split shorter than a context.
        """
        text = find(self.corpus, cache)
        made = tokenize([text], self.tokenizer, text.documents, cache, progress)
        splits, context = made.splits, self.context

        def train(seed: int, batch: int) -> grain.MapDataset:
            return stream_rows(splits["train"].ids, context, seed)

        def windows(split: str, batch: int) -> Windows:
            return stream_windows([splits[split].ids], context, batch, self.stride)

        def examples(batch: int) -> int:
            return rows_of_epoch(training_tokens(made, context), context)

        return Prepared(
            **made._asdict(),
            context=context,
            fields=text_fields(context),
            examples=examples,
            train=train,
            windows=windows,
            policy=self.policy,
        )

    @property
    def policy(self) -> str:
        """What is seen before a token that is scored; "" is windows side by side."""
        if self.stride in (None, self.context):
            return ""
        return (
            f"windows of {self.context} tokens, {self.stride} of them scored: at least "
            f"{self.context - (self.stride or 0)} before each but the first tokens'"
        )


def rows_of_epoch(tokens: int, context: int) -> int:
    """Give the contexts of an epoch: as many as fit wherever it starts."""
    return max(1, (tokens - context) // context)


def stream_rows(
    ids: np.ndarray, context: int, seed: int, purpose: str = "order"
) -> grain.MapDataset:
    """Give the endless rows of a stream, shuffled anew each epoch.

    An epoch starts at an offset below `context` that is drawn from the seed, so
    that the edges of the contexts move. What it leaves out at both ends of the
    stream is less than two contexts.

    Args:
        ids: (tokens,), at least context + 1.
        context: tokens of a row.
        seed: with the purpose, all that the order depends on.
        purpose: keeps the orders of several streams apart.
    """
    count = rows_of_epoch(len(ids), context)
    offsets = min(context, len(ids) - count * context)

    def row(epoch: int, index: int) -> Row:
        start = derive(seed, purpose, "offset", epoch) % offsets + index * context
        window = ids[start : start + context + 1].astype(np.int32)
        return {"inputs": window[:-1], "targets": window[1:]}

    return endless(count, seed, purpose, row)


def stream_windows(
    streams: list[np.ndarray], context: int, batch: int, stride: int | None = None
) -> Windows:
    """Give the evaluation batches of streams, one after the other.

    Args:
        streams: arrays of (tokens,).
        context: tokens of a window.
        batch: windows of a batch.
        stride: tokens between the starts of two windows; None is the context.
    """
    counts = [windows_of(len(ids), context, stride) for ids in streams]
    ends = np.cumsum(counts)

    def row(index: int) -> Row:
        part = int(np.searchsorted(ends, index, "right"))
        own = index - int(ends[part]) + counts[part]
        return stream_window(streams[part], context, own, stride)

    return Windows(sum(counts), row, batch)
