"""The n-gram model: a token depends on the few tokens before it."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Integer

from lm_jax.counting.fitted import FittedNGram, Table, check_ids
from lm_jax.counting.scratch import Progress, Scratch, pieces, telling
from lm_jax.counting.smoothing import GIVEN, Given, KneserNey, Smoothing
from lm_jax.counting.tables import NEVER, Ends, count
from lm_jax.errors import UserError


@dataclass(frozen=True)
class NGram:
    """Predict a token from the order - 1 tokens before it (Shannon 1948)."""

    reads: ClassVar[str] = "TokenStream"  # one stream of tokens

    order: int = 5
    """Tokens of the longest n-gram; 1 is a bag of words."""
    smoothing: Smoothing = KneserNey()
    """What becomes of contexts and tokens that are rare or unseen."""
    reset: bool = True
    """Contexts don't reach back over the last end of a sentence or document;
    that end is their first token. Where ends are not marked: nothing."""

    def __post_init__(self) -> None:
        """Refuse an order without tokens."""
        if self.order < 1:
            raise UserError(
                f"NGram(order={self.order}): the order is 1 or more; 1 is a bag of "
                "words."
            )

    def fit(
        self,
        ids: Integer[np.ndarray, " tokens"],
        vocab_size: int,
        end_id: Ends = None,
        progress: Progress | None = None,
        scratch: Scratch = Scratch(),
    ) -> FittedNGram:
        """Count the n-grams of a stream of tokens and weigh them.

        Args:
            ids: (tokens,), such as the training split.
            vocab_size: number of ids.
            end_id: the token, or the tokens, that end sentences and documents,
                if any does.
            progress: told (description, what is done, what there is in all).
            scratch: where arrays lie that are large.

        Raises:
            UserError: too few tokens or words, or ids beyond the vocabulary.
        """
        self.check(len(ids), vocab_size)
        for part in pieces(len(ids)):
            check_ids(ids[part], vocab_size)
        end_id = end_id if self.reset else None
        levels = count(ids, self.order, vocab_size, end_id, progress, scratch)
        grams = sum(len(level.keys) for level in levels)
        told = telling(progress, "weighing", grams)
        weighed = self.smoothing.weigh(levels, scratch, told)
        tables = tuple(
            Table(level.table, *weights)
            for level, weights in zip(levels, weighed, strict=True)
        )
        statement = (
            f"{self.smoothing} of order {self.order}: {self.smoothing.statement}. "
            f"{grams:,} n-grams of {len(ids):,} tokens"
            f"{'' if end_id is None else ', none across an end'}."
        )
        return FittedNGram(
            vocab_size, end_id, self.smoothing.backs_off, statement, tables
        )

    def check(self, tokens: int, vocab_size: int) -> None:
        """Refuse a stream of so many tokens that can't be counted.

        Raises:
            UserError: too few tokens or words, or too many to be numbered; no smoothing
                that can be fitted.
        """
        if isinstance(self.smoothing, Given):
            raise UserError(GIVEN)
        if vocab_size < 2:
            raise UserError(
                f"vocab_size={vocab_size}: there is nothing to predict with fewer "
                "than two tokens in the vocabulary. Use another tokenizer."
            )
        if self.order > tokens:
            raise UserError(
                f"NGram(order={self.order}): the text has {tokens:,} tokens, fewer "
                "than one n-gram. Use a lower order or a longer text."
            )
        if (tokens + 1) * (vocab_size + 1) >= NEVER:
            raise UserError(
                f"{tokens:,} tokens of a vocabulary of {vocab_size:,} are too many: "
                "the n-grams could not be numbered in 63 bits."
            )
