"""Texts with labels: what a classifier learns from."""

from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Int32

from lm_jax.data.fields import Field, inputs, segments
from lm_jax.data.order import Buckets, bucket_windows, sort_by_length
from lm_jax.data.prepared import Prepared
from lm_jax.data.tokens import Progress, Tokens, tokenize
from lm_jax.data.windows import Row, Windows
from lm_jax.errors import UserError
from lm_jax.text import Corpus, find
from lm_jax.text.found import Text
from lm_jax.tokenizers import Tokenizer, Words


@dataclass(frozen=True)
class Labelled:
    """Texts of any length, each a row of its own with its label.

    A row is padded to the shortest of `lengths` that the text fits; what a text has
    beyond the longest is cut off. Batches are of one length each.
    """

    gives: ClassVar[tuple[str, ...]] = ("inputs", "segments", "label", "mask")

    corpus: Corpus = Corpus("trec")
    """The texts, a document each."""
    tokenizer: Tokenizer = Words()
    label: str = "label"
    """Column of the labels, where the corpus is a table."""
    lengths: tuple[int, ...] = (16, 32, 64)
    """Tokens of a row, the shortest first."""

    def __post_init__(self) -> None:
        """Refuse lengths that don't grow, or hold no token."""
        rising = all(a < b for a, b in pairwise((0, *self.lengths)))
        if not self.lengths or not rising:
            raise UserError(
                f"data.lengths={self.lengths}: give lengths of 1 token or more, the "
                "shortest first and none twice."
            )

    def prepare(self, cache: Path, progress: Progress | None = None) -> Prepared:
        """Read, train the tokenizer and tokenize, or find what is in the cache.

        Raises:
            UserError: whatever is wrong with the corpus, the tokenizer's size or the
                space on disk; texts without labels; labels that training lacks.
        """
        text = find(self.corpus, cache, self.label)
        made = tokenize([text], self.tokenizer, False, cache, progress)
        names, labels = read_labels(text)

        def buckets(split: str) -> Buckets:
            return labelled_buckets(made.splits[split], labels[split], self.lengths)

        def windows(split: str, batch: int) -> Windows:
            return bucket_windows(buckets(split), batch)

        return Prepared(
            tokenizer=made.tokenizer,
            splits=made.splits,
            statement="\n".join([made.statement, *self._about(made.splits, text)]),
            digest=self._with_label(made.digest),
            text=self._with_label(made.text),
            context=self.lengths[-1],
            fields=labelled_fields(),
            labels=names,
            buckets=buckets("train"),
            windows=windows,
        )

    def _with_label(self, digest: str) -> str:
        return sha256(f"{self.label}\n{digest}".encode()).hexdigest()[:20]

    def _about(self, splits: dict[str, Tokens], text: Text) -> list[str]:
        """Say how often each label is there, and what is cut."""
        counts = Counter(label for split, label in text.labels() if split == "train")
        most = ", ".join(f"{name} {count:,}" for name, count in counts.most_common(10))
        more = f" and {len(counts) - 10} more" if len(counts) > 10 else ""
        longer = sum(
            int((np.diff(tokens.documents) > self.lengths[-1]).sum())
            for tokens in splits.values()
        )
        cut = f"{longer:,} texts are cut to {self.lengths[-1]} tokens."
        return [f"Labels of the training split: {most}{more}.", *[cut] * (longer > 0)]


def labelled_fields() -> tuple[Field, ...]:
    """Give the fields of texts with labels."""
    return (
        inputs("length"),
        segments("length"),
        Field("label", (), "int32", "the class of the text"),
        Field("mask", (), "float32", "1 where the loss counts, 0 where it doesn't"),
    )


def read_labels(
    text: Text,
) -> tuple[tuple[str, ...], dict[str, Int32[np.ndarray, " texts"]]]:
    """Give the names of the labels, and the label of each text of each split.

    Raises:
        UserError: the training split has fewer than two, or lacks one of another.
    """
    found: dict[str, list[str]] = {}
    for split, label in text.labels():
        found.setdefault(split, []).append(label)
    names = sorted(set(found.get("train", ())), key=lambda n: (len(n), n))
    if len(names) < 2:
        raise UserError(
            f"The training split has {len(names)} label ({', '.join(names)}): there is "
            "nothing to tell apart."
        )
    known = {name: number for number, name in enumerate(names)}
    for split, labels in found.items():
        if unknown := set(labels) - set(known):
            raise UserError(
                f"The split '{split}' has labels that training lacks: "
                f"{', '.join(sorted(unknown)[:5])}. Training has: "
                f"{', '.join(names[:20])}."
            )
    numbers = {k: np.array([known[n] for n in v], np.int32) for k, v in found.items()}
    return tuple(names), numbers


def labelled_buckets(
    tokens: Tokens, labels: Int32[np.ndarray, " texts"], lengths: tuple[int, ...]
) -> Buckets:
    """Sort the texts of a split by their lengths.

    Args:
        tokens: of the split.
        labels: of each text.
        lengths: of rows.
    """
    bounds = np.asarray(tokens.documents)

    def row(example: int, length: int) -> Row:
        ids = tokens.ids[bounds[example] : bounds[example + 1]][:length]
        missing = length - len(ids)
        return {
            "inputs": np.pad(ids.astype(np.int32), (0, missing)),
            "segments": np.pad(np.ones(len(ids), np.int32), (0, missing)),
            "label": labels[example],
            "mask": np.array(1.0, np.float32),
        }

    return sort_by_length(np.diff(bounds), lengths, row)
