"""Documents packed into contexts, each to be attended to by itself only."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import grain
import numpy as np
from jaxtyping import Int64, UInt

from lm_jax.data.fields import Field, inputs, mask, segments, targets
from lm_jax.data.prepared import Prepared, check_context, training_tokens
from lm_jax.data.randomness import derive, endless
from lm_jax.data.tokens import Progress, Tokens, tokenize
from lm_jax.data.windows import Row, Windows, windows_of
from lm_jax.errors import UserError
from lm_jax.text import Corpus, find
from lm_jax.tokenizers import Characters, Tokenizer


@dataclass(frozen=True)
class PackedDocuments:
    """Documents and their end tokens, one after the other, cut into contexts.

    Each epoch takes the documents in an order of its own. A document is read from
    the end token before it, so that its first token is predicted too, as a stream's
    is. A row tells its documents apart by "segments" and "positions".
    """

    gives: ClassVar[tuple[str, ...]] = (
        "inputs",
        "targets",
        "mask",
        "segments",
        "positions",
    )

    corpus: Corpus = Corpus("names")
    """The documents."""
    tokenizer: Tokenizer = Characters()
    context: int = 256
    """Tokens of one example."""

    def __post_init__(self) -> None:
        """Refuse a context without tokens."""
        check_context(self.context)

    def prepare(self, cache: Path, progress: Progress | None = None) -> Prepared:
        """Read, train the tokenizer and tokenize, or find what is in the cache.

        Raises:
            UserError: whatever is wrong with the corpus, the tokenizer's size
                or the space on disk; a training split shorter than a context.
        """
        text = find(self.corpus, cache)
        made = tokenize([text], self.tokenizer, True, cache, progress)
        if made.tokenizer.end_id is None:
            raise UserError(
                "PackedDocuments tells documents apart by the token that ends each, "
                "and this tokenizer has none. Use --data TokenStream; or, if an id "
                "ends them, say which: --data.tokenizer.end ID."
            )
        splits, context = made.splits, self.context

        def train(seed: int, batch: int) -> grain.MapDataset:
            return packed_rows(splits["train"], context, seed)

        def windows(split: str, batch: int) -> Windows:
            return packed_windows(splits[split], context, batch)

        def examples(batch: int) -> int:
            return windows_of(training_tokens(made, context), context)

        return Prepared(
            **made._asdict(),
            context=context,
            fields=packed_fields(context),
            examples=examples,
            train=train,
            windows=windows,
        )


def packed_fields(context: int) -> tuple[Field, ...]:
    """Give the fields of packed documents."""
    meaning = "where each input stands in its document, from 0"
    positions = Field("positions", (context,), "int32", meaning)
    arrays = (inputs(context), targets(context), segments(context), mask(context))
    return (*arrays, positions)


def packed_rows(tokens: Tokens, context: int, seed: int) -> grain.MapDataset:
    """Give the endless rows of packed documents; an epoch has every token once.

    Args:
        tokens: the training split.
        context: tokens of a row.
        seed: all that the order depends on.
    """
    lengths = np.diff(tokens.documents)

    @lru_cache(maxsize=2)
    def order_of(epoch: int) -> tuple[np.ndarray, np.ndarray]:
        # Sorting raw bits: they are the same in every version of numpy.
        bits = np.random.Philox(key=derive(seed, "documents", epoch))
        order = np.argsort(bits.random_raw(len(lengths)), kind="stable")
        return order, np.concatenate([[0], np.cumsum(lengths[order])])

    def row(epoch: int, index: int) -> Row:
        order, starts = order_of(epoch)
        return packed_row(tokens.ids, tokens.documents, order, starts, context, index)

    return endless(windows_of(len(tokens.ids), context), seed, "order", row)


def packed_windows(tokens: Tokens, context: int, batch: int) -> Windows:
    """Give the evaluation batches of packed documents, in the corpus's order."""
    documents = np.asarray(tokens.documents)
    order = np.arange(len(documents) - 1)

    def row(index: int) -> Row:
        return packed_row(tokens.ids, documents, order, documents, context, index)

    return Windows(windows_of(len(tokens.ids), context), row, batch)


def packed_row(
    ids: UInt[np.ndarray, " tokens"],
    documents: Int64[np.ndarray, " offsets"],
    order: Int64[np.ndarray, " documents"],
    starts: Int64[np.ndarray, " offsets"],
    context: int,
    index: int,
) -> Row:
    """Give row `index` of documents in an order, padded by zeros at the end.

    Args:
        ids: tokens of all documents.
        documents: where in `ids` each starts, and the end.
        order: the documents, as they are to follow each other.
        starts: where each starts in that order, and the end.
        context: tokens of the row.
        index: the row starts at token `index * context` of that order.
    """
    first = index * context
    place = np.arange(first, min(first + context + 1, len(ids)))
    which = np.searchsorted(starts, place, "right") - 1
    window = ids[documents[order[which]] + place - starts[which]].astype(np.int32)
    # An input belongs to the document of its target.
    begin = np.maximum(starts[which[1:]] - 1, first)
    arrays = {
        "inputs": window[:-1],
        "targets": window[1:],
        "segments": (which[1:] - which[1] + 1).astype(np.int32),
        "positions": (place[:-1] - begin).astype(np.int32),
        "mask": np.ones(len(window) - 1, np.float32),
    }
    missing = context - len(window) + 1
    return {name: np.pad(array, (0, missing)) for name, array in arrays.items()}
