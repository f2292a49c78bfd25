"""A corpus made ready: its tokenizer, its tokens, its examples."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grain
import numpy as np
from jaxtyping import Int32

from lm_jax.data.fields import Field, named
from lm_jax.data.frame import Frame
from lm_jax.data.order import (
    Buckets,
    Order,
    batch_size,
    bucket_order,
    even_order,
)
from lm_jax.data.questions import Questions
from lm_jax.data.tokens import Tokenized, Tokens
from lm_jax.data.windows import Windows
from lm_jax.errors import UserError
from lm_jax.text import Conversation, Judged
from lm_jax.tokenizers import Trained
from lm_jax.tokenizers.trained import visible

Source = str | Conversation
"""What a text is written of: another, or the turns of a conversation before it."""


def _varied(*_: int) -> Any:
    raise TypeError("These examples have several lengths: ask for their order.")


@dataclass(frozen=True)
class Searchable:
    """A test collection in tokens, not cut; each text ends with the end of it."""

    judged: Judged
    passages: Sequence[Int32[np.ndarray, " _"]]
    """Of each document, in the order of the collection."""
    queries: Mapping[str, Sequence[Int32[np.ndarray, " _"]]]
    """Of each split, in the order of the collection."""
    query_length: int
    passage_length: int
    """Tokens that a model reads of each, at most."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What training and evaluation need of the data."""

    tokenizer: Trained
    splits: dict[str, Tokens]
    statement: str
    """Sentences, one a line: the corpus, its split, the tokenizer, the sizes."""
    digest: str
    """Of the texts, how they were split and the tokenizer as it was asked for."""
    text: str = ""
    """Digest of the text of each split, before any tokenizer; "" is not known."""
    context: int
    """Tokens of an example, at most."""
    fields: tuple[Field, ...]
    """The arrays of the examples."""
    windows: Callable[[str, int], Windows]
    """Of a split and the rows of a batch (of the longest examples)."""
    examples: Callable[[int], int] = _varied
    """Of the rows of a batch: rows of one epoch of the training split."""
    train: Callable[[int, int], grain.MapDataset] = _varied
    """Of a seed and the rows of a batch, which only carried streams look at: the
    endless rows of training. Row i depends on these and i only."""
    buckets: Buckets | None = None
    """The training split, where its examples have several lengths, in place of the
    two above."""
    labels: tuple[str, ...] = ()
    """Names of the classes that examples belong to, where they have a label."""
    frame: Frame | None = None
    """What stands around sources and targets, where there are some."""
    pairs: Callable[[str], Iterator[tuple[Source, str]]] | None = None
    """Of a split: each source and target as they stand in the corpus."""
    asked: Callable[[Source, int], Int32[np.ndarray, " tokens"]] | None = None
    """Of a source, and of how many tokens are to be written of it at most: what a
    model reads first."""
    stops: tuple[str, ...] = ()
    """Strings that end what is written, beside the end of a document."""
    questions: Mapping[str, Questions] = field(default_factory=dict)
    """Of each split, what its rows are windows of, where they are of questions."""
    kinds: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    """Of each split and row, the task of each question in it, where they have some."""
    sentences: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Of each split and row of labelled words, the number of its sentence, from 0: a
    long one has several rows."""
    lanes: int | None = None
    """Rows of an evaluation batch where batches continue each other, else None."""
    searchable: Searchable | None = None
    """The documents and queries of a test collection, where it is one."""
    policy: str = ""
    """What is seen before a token that is scored; "" is windows side by side."""

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return self.tokenizer.vocab_size

    @property
    def training_fields(self) -> tuple[Field, ...]:
        """The arrays of each row of training."""
        return named(self.fields, "training")

    @property
    def evaluation_fields(self) -> tuple[Field, ...]:
        """The arrays of each row of an evaluation."""
        return named(self.fields, "evaluation")

    def order(self, seed: int, batch: int | str, ways: int = 1) -> Order:
        """Give the batches of training.

        Args:
            seed: all that the order depends on, beside the batch.
            batch: rows, or tokens such as "4096 tokens".
            ways: what the rows of a batch must be divisible by, where rows of zeros
                can make them so: where examples have several lengths.

        Raises:
            UserError: the batch is no size, or too small or large for the examples.
        """
        size = batch_size(batch)
        if self.buckets is not None:
            return bucket_order(self.buckets, seed, size, ways)
        rows = size.of_length(self.context)
        examples = self.examples(rows)
        return even_order(self.train(seed, rows), rows, self.context, examples)

    def rows(self, seed: int, batch: int | str) -> int:
        """Give the rows of a training batch, of the longest examples.

        A text that is too short to train on has none, and is scored in such batches.
        """
        if self.buckets is not None:
            return self.order(seed, batch).shapes[-1].rows
        return batch_size(batch).of_length(self.context)

    def evaluation(self, split: str, batch: int) -> Windows:
        """Give batches of (batch, context) that cover a split exactly once.

        Raises:
            UserError: there is no such split, or it has no two tokens.
        """
        found = len(self.splits[split].ids) if split in self.splits else 0
        if found < 2:
            raise UserError(
                f"The split '{split}' has {found} tokens: two are needed to predict "
                f"one. There is: {', '.join(self.splits)}. Give the corpus a larger "
                f"share for it (data.corpus.{split}), or more documents, and train "
                "anew."
            )
        return self.windows(split, batch)


def check_context(context: int) -> None:
    """Refuse contexts that hold no token."""
    if context < 1:
        raise UserError(f"context={context}: a context has 1 token or more.")


def check_varied(data: Prepared) -> None:
    """Refuse a training split that is one token again and again.

    Raises:
        UserError: there is nothing to predict.
    """
    ids = data.splits["train"].ids
    if len(ids) and (ids[:4096] == ids[0]).all() and (ids == ids[0]).all():
        (symbol,) = data.tokenizer.symbols(ids[:1])
        raise UserError(
            f"The split 'train' is '{visible(symbol)}' {len(ids):,} times: there is "
            "nothing to predict. Use a longer text or another tokenizer."
        )


def training_tokens(made: Tokenized, context: int, part: int = 0) -> int:
    """Give the training tokens of one corpus; refuse less than one context."""
    tokens = made.splits.get("train")
    found = tokens.parts[part + 1] - tokens.parts[part] if tokens else 0
    if found < context + 1:
        raise UserError(
            f"The split 'train' has {found:,} tokens: too short for context={context}, "
            f"which needs {context + 1:,}. Use a shorter context or a longer text."
        )
    return found
