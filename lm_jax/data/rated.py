"""Texts, or pairs of texts, with a number: what a regression learns from."""

import math
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float32

from lm_jax.bounds import SIZES, check, within
from lm_jax.data.augmenting import (
    Augmentation,
    augmented,
    check_augment,
    told_augment,
)
from lm_jax.data.examples import (
    check_lengths,
    cut_statement,
    limit_statement,
    read_examples,
    text_buckets,
    text_fields,
)
from lm_jax.data.fields import Field
from lm_jax.data.order import Buckets, bucket_windows
from lm_jax.data.prepared import Prepared
from lm_jax.data.tokens import Progress
from lm_jax.data.windows import Windows
from lm_jax.errors import UserError
from lm_jax.text import Columns, Corpus, find
from lm_jax.text.found import Text
from lm_jax.tokenizers import Tokenizer, Words


@dataclass(frozen=True)
class Rated:
    """Texts of any length, each a row of its own with a number; see `Labelled`."""

    gives: ClassVar[tuple[str, ...]] = ("inputs", "segments", "value", "mask")

    corpus: Corpus = Corpus("stsb")
    """The texts."""
    tokenizer: Tokenizer = Words()
    value: str = "score"
    """Column of the numbers, where the corpus is a table."""
    lengths: tuple[int, ...] = (16, 32, 64)
    """Tokens of a row, the shortest first."""
    pair: str = ""
    """Column of second texts, where rows of a table are pairs; "" where not."""

    augment: tuple[Augmentation, ...] = ()
    """How training changes the tokens of a text, anew each time that it comes:
    ``(Mask(0.1), Delete(0.1), Swap(0.1))``, or ``BPEDropout(0.1)`` with Subwords."""
    limit: int | None = within(SIZES, None)
    """Rows of the training split to learn from, drawn by chance, the same for every
    seed; None takes all."""

    def __post_init__(self) -> None:
        """Refuse lengths that don't grow, no rows, and augmentations without sense."""
        check_lengths(self.lengths)
        check(self, "data")
        check_augment(self.augment, self.tokenizer)

    def prepare(self, cache: Path, progress: Progress | None = None) -> Prepared:
        """Read, train the tokenizer and tokenize, or find what is in the cache.

        Raises:
            UserError: as `Labelled.prepare`; something is no number.
        """
        text = find(
            self.corpus, cache, Columns(self.value, (self.pair,) if self.pair else ())
        )
        values = read_values(text)
        made = read_examples(text, self.tokenizer, cache, progress)
        tokenizer, redraw = augmented(self.augment, made.tokenizer, text.together)
        around = made.tokenizer.around

        def buckets(split: str) -> Buckets:
            told = {"value": values[split]}
            limit = self.limit if split == "train" else None
            return text_buckets(
                made.splits[split], told, self.lengths, text.together, limit, around
            )

        def windows(split: str, batch: int) -> Windows:
            return bucket_windows(buckets(split), batch)

        low, high = float(values["train"].min()), float(values["train"].max())
        about = [
            f"Numbers of the training split: {low:g} to {high:g}.",
            *limit_statement(made.splits["train"], self.limit, text.together),
            *cut_statement(made.splits, self.lengths[-1], text.together, around),
            *told_augment(self.augment),
        ]
        return Prepared(
            tokenizer=tokenizer,
            splits=made.splits,
            statement="\n".join([made.statement, *about]),
            digest=named_by_values(made.digest, self.value, self.limit),
            text=named_by_values(made.text, self.value, self.limit),
            context=self.lengths[-1],
            fields=text_fields(Field("value", (), "float32", "the number of the text")),
            buckets=replace(buckets("train"), redraw=redraw),
            windows=windows,
        )


def named_by_values(digest: str, column: str, limit: int | None) -> str:
    """Give the digest of texts with their numbers, and of the rows that are drawn."""
    rows = "" if limit is None else f"\n{limit} rows"
    return sha256(f"{column}{rows}\n{digest}".encode()).hexdigest()[:20]


def read_values(text: Text) -> dict[str, Float32[np.ndarray, " texts"]]:
    """Give the number of each text of each split.

    Raises:
        UserError: one is no finite number, or all of training are the same.
    """
    found: dict[str, list[float]] = {}
    for split, told in text.labels():
        numbers = found.setdefault(split, [])
        try:
            with np.errstate(over="ignore"):
                numbers.append(float(np.float32(told)))
        except ValueError:
            numbers.append(math.nan)
        if not math.isfinite(numbers[-1]):
            raise UserError(
                f"Text {len(numbers):,} of the split '{split}' has {told!r} for its "
                "number. Give each text a finite number; data=Labelled reads names."
            )
    if len(set(found.get("train", ()))) < 2:
        raise UserError(
            "The training split has one number for all of its texts: there is nothing "
            "to tell apart."
        )
    return {split: np.array(numbers, np.float32) for split, numbers in found.items()}
