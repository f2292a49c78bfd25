"""How often words meet: what GloVe learns from."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import grain
import numpy as np
from jaxtyping import Bool, Float32, Int32, Integer

from lm_jax.data.contexts import check_window, known_words
from lm_jax.data.fields import Field, inputs
from lm_jax.data.prepared import Prepared
from lm_jax.data.randomness import endless, uniform
from lm_jax.data.tokens import Progress, tokenize
from lm_jax.data.windows import Row, Windows
from lm_jax.errors import UserError
from lm_jax.text import Corpus, find
from lm_jax.tokenizers import Characters, Subwords, Words

_BLOCK = 1 << 20  # Tokens counted together: bounds the memory beside the pairs.


_Run = tuple[np.ndarray, np.ndarray]
"""Sorted keys first * vocab + second, first <= second; and the counts."""


@dataclass(frozen=True)
class Cooccurrences:
    """The pairs of words that meet in a text, each with how often.

    Words d apart meet 1/d times (Pennington et al. 2014, 4.2). Unknown words are
    left out before windows are laid; windows end where documents and, with
    `Words`, lines do. The rows have "inputs", "contexts" (int32) and "counts"
    (float32, 0 is no pair), each (pairs,).
    """

    gives: ClassVar[tuple[str, ...]] = ("inputs", "contexts", "counts")

    corpus: Corpus = Corpus()
    """The text."""
    tokenizer: Words | Subwords | Characters = Words()
    window: int = 10
    """Words on each side."""
    pairs: int = 16_384
    """Pairs of a row."""

    def __post_init__(self) -> None:
        """Refuse windows without words and rows without pairs."""
        check_window(self.window)
        if self.pairs < 1:
            raise UserError(f"data.pairs={self.pairs}: a row has 1 pair or more.")

    def prepare(self, cache: Path, progress: Progress | None = None) -> Prepared:
        """Read, tokenize and count, or find the tokens in the cache.

        Raises:
            UserError: whatever is wrong with the corpus or the tokenizer's size;
                a training split in which no two words meet.
        """
        text = find(self.corpus, cache)
        made = tokenize([text], self.tokenizer, text.documents, cache, progress)
        known = known_words(made)

        def counted(split: str) -> Pairs:
            ids = made.splits[split].ids
            return shuffled(count_pairs(ids, known.counts > 0, known.ends, self.window))

        pairs = counted("train")
        if not len(pairs.counts):
            raise UserError(
                "No two known words of the split 'train' meet: use a longer text, or "
                "one of longer lines."
            )
        rows = -(-len(pairs.counts) // self.pairs)

        def train(seed: int, batch: int) -> grain.MapDataset:
            def row(epoch: int, index: int) -> Row:
                return pair_row(pairs, index, self.pairs)

            return endless(rows, seed, "pairs", row)

        def windows(split: str, batch: int) -> Windows:
            held = pairs if split == "train" else counted(split)

            def row(index: int) -> Row:
                return pair_row(held, index, self.pairs)

            return Windows(-(-len(held.counts) // self.pairs), row, batch)

        def examples(batch: int) -> int:
            return rows

        size = f"{len(pairs.counts):,} pairs of words meet in the split 'train'."
        made = made._replace(statement=f"{made.statement}\n{size}")
        shape = (self.pairs,)
        fields = (
            inputs(self.pairs),
            Field("contexts", shape, "int32", "the word that each input meets"),
            Field("counts", shape, "float32", "how often they meet; 0 is no pair"),
        )
        return Prepared(
            **made._asdict(),
            context=self.pairs,
            fields=fields,
            examples=examples,
            train=train,
            windows=windows,
        )


class Pairs(NamedTuple):
    """A sparse matrix: which words meet, and how often."""

    inputs: Int32[np.ndarray, " pairs"]
    contexts: Int32[np.ndarray, " pairs"]
    counts: Float32[np.ndarray, " pairs"]


def count_pairs(
    ids: Integer[np.ndarray, " tokens"],
    known: Bool[np.ndarray, " vocab"],
    ends: Bool[np.ndarray, " vocab"],
    window: int,
) -> Pairs:
    """Count the pairs of a stream, both ways, sorted by word and context.

    One pass in blocks; the memory grows with the distinct pairs, not with the
    text: counts of blocks are merged as runs of like size, the way a merge sort
    does.

    Args:
        ids: the stream.
        known: the words that are not left out.
        ends: the tokens that end windows.
        window: words on each side.
    """
    size, sentence = len(known), 0
    runs: list[_Run] = []
    before = np.empty((2, 0), np.int64)
    for start in range(0, len(ids), _BLOCK):
        block = ids[start : start + _BLOCK]
        sentences = sentence + np.cumsum(ends[block])
        sentence = int(sentences[-1])
        kept = known[block]
        words = np.stack([block[kept].astype(np.int64), sentences[kept]])
        runs.append(_met(before, words, window, size))
        before = np.concatenate([before, words], 1)[:, -window:]
        while len(runs) > 1 and 2 * len(runs[-1][0]) >= len(runs[-2][0]):
            runs[-2:] = [_merged(runs[-2:])]
    keys, sums = _merged(runs)
    first, second = keys // size, keys % size
    apart = first != second
    # Met both ways: a word that meets itself does so twice.
    inputs = np.concatenate([first, second[apart]])
    contexts = np.concatenate([second, first[apart]])
    counts = np.concatenate([np.where(apart, sums, 2 * sums), sums[apart]])
    order = np.argsort(inputs * size + contexts)
    return Pairs(
        inputs[order].astype(np.int32),
        contexts[order].astype(np.int32),
        counts[order].astype(np.float32),
    )


def _met(before: np.ndarray, words: np.ndarray, window: int, size: int) -> _Run:
    """Count the pairs of a block's words with each other and the `before` it.

    Both are (2, words): id and sentence.
    """
    ids, sentences = np.concatenate([before, words], 1)
    old = before.shape[1]
    runs = [(np.empty(0, np.int64), np.empty(0))]
    for distance in range(1, window + 1):
        # The later word of each pair is of this block: no pair counts twice.
        later = np.arange(max(old, distance), len(ids))
        later = later[sentences[later] == sentences[later - distance]]
        pair = ids[later - distance], ids[later]
        keys = np.minimum(*pair) * size + np.maximum(*pair)
        found, times = np.unique(keys, return_counts=True)
        runs.append((found, times / distance))
    return _merged(runs)


def _merged(runs: list[_Run]) -> _Run:
    if not runs:
        return np.empty(0, np.int64), np.empty(0)
    keys, place = np.unique(np.concatenate([r[0] for r in runs]), return_inverse=True)
    sums = np.bincount(place, np.concatenate([r[1] for r in runs]), len(keys))
    return keys, sums


def shuffled(pairs: Pairs) -> Pairs:
    """Put pairs in one random order, always the same."""
    order = np.argsort(uniform(0, "pairs")(len(pairs.counts)), kind="stable")
    return Pairs(*(part[order] for part in pairs))


def pair_row(pairs: Pairs, index: int, size: int) -> Row:
    """Give row `index` of so many pairs; counts of 0 fill the last one."""
    part = slice(index * size, (index + 1) * size)
    missing = size - len(pairs.counts[part])
    return {
        name: np.pad(array[part], (0, missing))
        for name, array in zip(Pairs._fields, pairs, strict=True)
    }
