"""Texts, or pairs of texts, with labels: what a classifier learns from."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Int32

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
    drawn,
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
class Labelled:
    """Texts of any length, each a row of its own with its label.

    A row is padded to the shortest of `lengths` that the text fits; what a text has
    beyond the longest is cut off. Batches are of one length each. A pair of texts is
    one row, with the end of a document after each: the longer one is cut first. A
    checkpoint's tokenizer puts around them what it did there, as BERT's [CLS] and
    [SEP].
    """

    gives: ClassVar[tuple[str, ...]] = ("inputs", "segments", "label", "mask")

    corpus: Corpus = Corpus("trec")
    """The texts, a document each."""
    tokenizer: Tokenizer = Words()
    label: str = "label"
    """Column of the labels, where the corpus is a table."""
    lengths: tuple[int, ...] = (16, 32, 64)
    """Tokens of a row, the shortest first."""
    pair: str = ""
    """Column of second texts, where rows of a table are pairs; "" where not."""
    classes: tuple[str, ...] = ()
    """Names of the labels, in any order; those of the training split, if empty."""

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
            UserError: whatever is wrong with the corpus, the tokenizer's size or the
                space on disk; texts without labels or tokens; labels that training
                lacks; a limit that leaves one label.
        """
        text = find(
            self.corpus, cache, Columns(self.label, (self.pair,) if self.pair else ())
        )
        names, labels = read_labels(text, self.classes)
        learnt = labels["train"][drawn(len(labels["train"]), self.limit)]
        _check_several(names, learnt, self.limit)
        made = read_examples(text, self.tokenizer, cache, progress)
        tokenizer, redraw = augmented(self.augment, made.tokenizer, text.together)
        around = made.tokenizer.around

        def buckets(split: str) -> Buckets:
            told = {"label": labels[split]}
            limit = self.limit if split == "train" else None
            return text_buckets(
                made.splits[split], told, self.lengths, text.together, limit, around
            )

        def windows(split: str, batch: int) -> Windows:
            return bucket_windows(buckets(split), batch)

        of = " of the training split" if len(labels) > 1 else ""
        about = [
            f"Labels{of}: {_counted(names, learnt)}.",
            *limit_statement(made.splits["train"], self.limit, text.together),
            *cut_statement(made.splits, self.lengths[-1], text.together, around),
            *told_augment(self.augment),
        ]
        return Prepared(
            tokenizer=tokenizer,
            splits=made.splits,
            statement="\n".join([made.statement, *about]),
            digest=self._with_label(made.digest),
            text=self._with_label(made.text),
            context=self.lengths[-1],
            fields=labelled_fields(),
            labels=names,
            buckets=replace(buckets("train"), redraw=redraw),
            windows=windows,
        )

    def _with_label(self, digest: str) -> str:
        classes = "".join(f"\n{name}" for name in sorted(set(self.classes)))
        limit = "" if self.limit is None else f"\n{self.limit} rows"
        named = f"{self.label}{classes}{limit}\n{digest}"
        return sha256(named.encode()).hexdigest()[:20]


def labelled_fields() -> tuple[Field, ...]:
    """Give the fields of texts with labels."""
    return text_fields(Field("label", (), "int32", "the class of the text"))


def _check_several(
    names: tuple[str, ...], learnt: Int32[np.ndarray, " texts"], limit: int | None
) -> None:
    """See that the rows that were drawn have more than one label.

    Raises:
        UserError: they haven't.
    """
    if limit is not None and len(set(learnt.tolist())) < 2:
        drawn_rows = "the row that is drawn has"
        if limit > 1:
            drawn_rows = f"the {limit:,} rows that are drawn all have"
        raise UserError(
            f"data.limit={limit:,}: {drawn_rows} the label {names[learnt[0]]}, and "
            "there is nothing to tell apart. Give more, or None for all."
        )


def _counted(names: tuple[str, ...], labels: Int32[np.ndarray, " texts"]) -> str:
    """Say how often each label is there."""
    counts = Counter({names[i]: n for i, n in enumerate(np.bincount(labels).tolist())})
    most = ", ".join(f"{name} {count:,}" for name, count in counts.most_common(10))
    more = f" and {len(counts) - 10} more" if len(counts) > 10 else ""
    return most + more


def read_labels(
    text: Text,
    classes: tuple[str, ...] = (),
    place: Callable[[str, int], str] | None = None,
) -> tuple[tuple[str, ...], dict[str, Int32[np.ndarray, " texts"]]]:
    """Give the names of the labels, and the label of each text of each split.

    A label's number is its place among the names in a fixed order: neither the order
    of the texts nor that of ``classes`` changes it.

    Args:
        text: with labels.
        classes: names of the labels; those of the training split, if empty.
        place: says where the label of a number in a split stands.

    Raises:
        UserError: there are fewer than two, one is written in two ways, or a text has
            another.
    """
    found: dict[str, list[str]] = {}
    for split, label in text.labels():
        found.setdefault(split, []).append(label)
    names = sorted(set(classes or found.get("train", ())), key=lambda n: (len(n), n))
    if len(names) < 2:
        where = "data.classes" if classes else "The training split"
        raise UserError(
            f"{where} has {len(names)} label ({', '.join(names)}): there is "
            "nothing to tell apart."
        )
    _check_once(names, named=bool(classes))
    known = {name: number for number, name in enumerate(names)}
    for split, labels in found.items():
        if unknown := set(labels) - set(known):
            whose = "The classes are" if classes else "Training has"
            first = next(k for k, label in enumerate(labels) if label in unknown)
            at = place(split, first) if place else f"text {first + 1:,} of it"
            raise UserError(
                f"The split '{split}' has labels that "
                f"{'are none of the classes' if classes else 'training lacks'}: "
                f"{', '.join(sorted(unknown)[:5])} (first at {at}). {whose}: "
                f"{', '.join(names[:20])}."
            )
    numbers = {k: np.array([known[n] for n in v], np.int32) for k, v in found.items()}
    return tuple(names), numbers


def _check_once(names: list[str], named: bool) -> None:
    """Refuse a label that is written in two ways, which would be two classes.

    Args:
        names: of the labels.
        named: whether they were given, so that capitals may tell two apart.

    Raises:
        UserError: naming both.
    """
    before = dict[str, str]()
    for name in names:
        same = _alike(name)
        if same in before:
            raise UserError(
                f"The labels {before[same]!r} and {name!r} are one value, written in "
                "two ways, and would be two classes. Write them alike."
            )
        before[same] = name
    folded = dict[str, str]()
    for name in () if named else names:
        if (other := folded.setdefault(name.casefold(), name)) != name:
            raise UserError(
                f"The labels {other!r} and {name!r} differ in capitals alone, and "
                "would be two classes. Write them alike, or name all in data.classes."
            )


def _alike(name: str) -> str:
    """What labels have in common that are one value to people."""
    plain = " ".join(unicodedata.normalize("NFC", name).split())
    whole = re.fullmatch(r"(-?\d+)\.0*", plain)
    return whole[1] if whole else {"False": "0", "True": "1"}.get(plain, plain)
