"""What the arrays of an example are called, how large they are, what they mean."""

from dataclasses import dataclass
from typing import Literal

Rows = Literal["all", "training", "evaluation"]


@dataclass(frozen=True)
class Field:
    """One named array of every example.

    A name has one meaning: data that means something else by its arrays calls
    them something else, so that whoever reads them by name reads what it means.
    """

    name: str
    shape: tuple[int | str, ...]
    """Of one example; "length" is any of the lengths of the data."""
    dtype: str
    meaning: str
    rows: Rows = "all"
    """Which examples have it."""

    def sized(self, length: int) -> tuple[int, ...]:
        """Give the shape of an example of this length."""
        return tuple(length if size == "length" else int(size) for size in self.shape)


def named(fields: tuple[Field, ...], rows: Rows) -> tuple[Field, ...]:
    """Give the fields of the examples of training, or of evaluation."""
    return tuple(field for field in fields if field.rows in ("all", rows))


def inputs(length: int | str, rows: Rows = "all") -> Field:
    """Tokens that are read, in their order."""
    return Field("inputs", (length,), "int32", "the tokens that are read", rows)


def targets(length: int | str, rows: Rows = "all") -> Field:
    """What a causal model predicts."""
    meaning = "the token that follows each input"
    return Field("targets", (length,), "int32", meaning, rows)


def mask(length: int | str, rows: Rows = "all") -> Field:
    """What the loss is summed over."""
    meaning = "1 where the loss counts, 0 where it doesn't"
    return Field("mask", (length,), "float32", meaning, rows)


def segments(length: int | str, rows: Rows = "all") -> Field:
    """What belongs together."""
    meaning = "which text each input belongs to, from 1; 0 is padding"
    return Field("segments", (length,), "int32", meaning, rows)


def text_fields(context: int) -> tuple[Field, ...]:
    """Give the fields of windows of a text: whole in training, padded after it."""
    return inputs(context), targets(context), mask(context, "evaluation")
