"""Words and the words around them: what word2vec learns from."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import grain
import numpy as np
from jaxtyping import Bool, Float, Int, Int64, Integer

from lm_jax.bounds import within
from lm_jax.data.fields import Field, inputs
from lm_jax.data.huffman import huffman
from lm_jax.data.prepared import Prepared
from lm_jax.data.randomness import Draw, endless, uniform
from lm_jax.data.tokens import Progress, Tokenized, tokenize
from lm_jax.data.windows import Row, Windows
from lm_jax.errors import UserError
from lm_jax.text import Corpus, find
from lm_jax.tokenizers import Characters, Kept, Subwords, Words
from lm_jax.tokenizers.trained import boundary_ids

_BLOCK = 1 << 22  # Tokens looked at together: bounds the memory.

Answers = Callable[[Int[np.ndarray, " words"], Draw], Row]
"""Of the words of a row: the arrays that tell how each can be answered for."""


@dataclass(frozen=True)
class Noise:
    """Tell a word from words of noise (Mikolov et al. 2013b, eq. 4).

    The words of a group share their noise, weighted to count as `negatives`
    words for each pair (Ji et al. 2016): so noise is a product of matrices.
    Noise that happens to be the word itself stays.
    """

    negatives: int = 5
    """Words of noise for each pair: k in the paper."""
    power: float = within("[0, inf)", 0.75)
    """Noise is drawn by the counts of the words to this power."""
    shared: int = 64
    """Words of noise that a group draws."""
    group: int = 256
    """Words of a group."""

    def __post_init__(self) -> None:
        """Refuse noise without words."""
        for name in ("negatives", "shared", "group"):
            if getattr(self, name) < 1:
                raise UserError(f"Noise({name}={getattr(self, name)}): give 1 or more.")

    def fields(
        self, words: int, counts: Int64[np.ndarray, " vocab"]
    ) -> tuple[Field, ...]:
        """Give the fields of the answers for the words of a row."""
        shape = (words // self.group, self.shared)
        weighs = "how many words of noise each counts as, for a pair"
        return (
            Field("noise", shape, "int32", "words of noise of each group of words"),
            Field("noise_weight", shape, "float32", weighs),
        )

    def answers(self, counts: Int64[np.ndarray, " vocab"]) -> Answers:
        """Give "noise" and "noise_weight" (groups, shared) of a row."""
        # A power of 0 makes all words alike, and words of what is left out.
        weights = np.where(counts > 0, counts.astype(float) ** self.power, 0.0)
        chances = np.cumsum(weights)
        chances /= chances[-1]

        def noise(words: np.ndarray, draw: Draw) -> Row:
            shape = len(words) // self.group, self.shared
            drawn = np.searchsorted(chances, draw(shape[0] * shape[1]), "right")
            weight = np.full(shape, self.negatives / self.shared, np.float32)
            return {
                "noise": drawn.reshape(shape).astype(np.int32),
                "noise_weight": weight,
            }

        return noise


@dataclass(frozen=True)
class HuffmanTree:
    """Find a word by the turns on the way to it (Mikolov et al. 2013b, eq. 3)."""

    def fields(
        self, words: int, counts: Int64[np.ndarray, " vocab"]
    ) -> tuple[Field, ...]:
        """Give the fields of the answers for the words of a row."""
        depth = huffman(counts).nodes.shape[1]
        turns = "1 or -1, the turn at each node; 0 is no node"
        return (
            Field("nodes", (words, depth), "int32", "the nodes on the way to a word"),
            Field("turns", (words, depth), "float32", turns),
        )

    def answers(self, counts: Int64[np.ndarray, " vocab"]) -> Answers:
        """Give "nodes" and "turns" (words, depth) of a row."""
        tree = huffman(counts)

        def paths(words: np.ndarray, draw: Draw) -> Row:
            return {"nodes": tree.nodes[words], "turns": tree.turns[words]}

        return paths


@dataclass(frozen=True)
class WordContexts:
    """The words of a text, each with the words around it.

    Unknown words are left out before windows are laid. Windows end at the ends
    of documents and, with `Words`, of lines. The rows have "inputs" (words,), "near"
    (words, 2 window + 1), true for the words around, and the targets' arrays.
    """

    gives: ClassVar[tuple[str, ...]] = (
        "inputs",
        "near",
        "noise",
        "noise_weight",
        "nodes",
        "turns",
    )

    corpus: Corpus = Corpus()
    """The text."""
    tokenizer: Words | Subwords | Characters | Kept = Words()
    window: int = 5
    """Words on each side at most: each word draws its own reach, 1 to this."""
    subsample: float = 1e-3
    """Words of a larger share of the text than this are thinned out; 0 keeps all."""
    targets: Noise | HuffmanTree = Noise()
    """What the probability of a word is made of."""
    words: int = 1024
    """Words of a row."""

    def __post_init__(self) -> None:
        """Refuse windows without words, and rows that groups don't fill."""
        check_window(self.window)
        group = self.targets.group if isinstance(self.targets, Noise) else 1
        if self.words < 1 or self.words % group:
            near = max(1, round(self.words / group)) * group
            raise UserError(
                f"data.words={self.words} is no number of groups of {group} words. "
                f"The nearest that is: {near}."
            )
        if not 0 <= self.subsample <= 1:
            raise UserError(f"data.subsample={self.subsample} is no share, 0 to 1.")

    def prepare(self, cache: Path, progress: Progress | None = None) -> Prepared:
        """Read, train the tokenizer and tokenize, or find what is in the cache.

        Raises:
            UserError: whatever is wrong with the corpus or the tokenizer's size;
                a training split without two different words.
        """
        text = find(self.corpus, cache)
        made = tokenize([text], self.tokenizer, text.documents, cache, progress)
        known = known_words(made)
        answers = self.targets.answers(known.counts)
        keep = kept_shares(known.counts, self.subsample)
        whole = (known.counts > 0).astype(float)
        splits, window = made.splits, self.window
        edges = row_edges(splits["train"].ids, keep, self.words)

        def row(ids: np.ndarray, keep: np.ndarray, reach: np.ndarray, draw: Draw):
            chosen = draw(len(ids)) < keep[ids]
            found = context_row(ids, chosen, known.ends, reach, window)
            return found | answers(found["inputs"], draw)

        def train(seed: int, batch: int) -> grain.MapDataset:
            def drawn(epoch: int, index: int) -> Row:
                ids = splits["train"].ids[edges[index] : edges[index + 1]]
                draw = uniform(seed, "contexts", "row", epoch, index)
                reach = 1 + (window * draw(self.words)).astype(np.int64)
                return row(ids, keep, reach, draw)

            return endless(len(edges) - 1, seed, "contexts", drawn)

        def windows(split: str, batch: int) -> Windows:
            ends = row_edges(splits[split].ids, whole, self.words)

            def fixed(index: int) -> Row:
                ids = splits[split].ids[ends[index] : ends[index + 1]]
                reach = np.full(self.words, window)
                return row(ids, whole, reach, uniform(0, "evaluation", index))

            return Windows(len(ends) - 1, fixed, batch)

        def examples(batch: int) -> int:
            return len(edges) - 1

        return Prepared(
            **made._asdict(),
            context=self.words,
            fields=self._fields(known.counts),
            examples=examples,
            train=train,
            windows=windows,
        )

    def _fields(self, counts: Int64[np.ndarray, " vocab"]) -> tuple[Field, ...]:
        around = (self.words, 2 * self.window + 1)
        near = Field("near", around, "bool", "which words around each are near it")
        return inputs(self.words), near, *self.targets.fields(self.words, counts)


def check_window(window: int) -> None:
    """Refuse windows that hold no word."""
    if window < 1:
        raise UserError(f"data.window={window}: a window has 1 word or more.")


class Known(NamedTuple):
    """The words that count, and the tokens that end windows."""

    counts: Int64[np.ndarray, " vocab"]
    """Of each word in the training split; 0 for tokens that are left out."""
    ends: Bool[np.ndarray, " vocab"]
    """Whether a token ends a document or a line."""


def known_words(made: Tokenized) -> Known:
    """Count the words of the training split, unknown ones and ends left out.

    Raises:
        UserError: no two different words are left.
    """
    tokenizer, size = made.tokenizer, made.tokenizer.vocab_size
    ids = made.splits["train"].ids if "train" in made.splits else np.empty(0, np.uint8)
    counts = np.zeros(size, np.int64)
    for start in range(0, len(ids), _BLOCK):
        counts += np.bincount(ids[start : start + _BLOCK], minlength=size)
    ends = np.zeros(size, bool)
    ends[list(boundary_ids(tokenizer))] = True
    counts[ends] = 0
    if tokenizer.unknown_id is not None:
        counts[tokenizer.unknown_id] = 0
    found = np.count_nonzero(counts)
    if found < 2:
        raise UserError(
            f"The split 'train' has {found} different word(s) beside unknown ones: "
            "word vectors need 2 or more. Use a longer text or a larger vocabulary."
        )
    return Known(counts, ends)


def kept_shares(
    counts: Int64[np.ndarray, " vocab"], threshold: float
) -> Float[np.ndarray, " vocab"]:
    """Give the chance of each word to stay when frequent words are thinned out.

    sqrt(t/f) + t/f of a word whose share of the text is f, 1 at most: what
    word2vec does, if not quite what it writes (Mikolov et al. 2013b, eq. 5).
    Words without a count never stay.
    """
    if threshold == 0:
        return (counts > 0).astype(float)
    share = np.maximum(counts, 1) / counts.sum()
    kept = np.sqrt(threshold / share) + threshold / share
    return np.where(counts > 0, np.minimum(kept, 1.0), 0.0)


def row_edges(
    ids: Integer[np.ndarray, " tokens"], keep: Float[np.ndarray, " vocab"], words: int
) -> Int64[np.ndarray, " edges"]:
    """Cut a stream where the words that stay are expected to fill a row.

    Rows are filled less four standard deviations of what may stay; so next to
    none overflows, and the words of a row depend on that row's draws alone.

    Args:
        ids: the stream.
        keep: the chance of each word to stay.
        words: of a row.
    """
    blocks = range(0, len(ids), _BLOCK)

    def sum_of(shares: np.ndarray) -> float:
        return math.fsum(shares[ids[b : b + _BLOCK]].sum() for b in blocks)

    total = sum_of(keep)
    if total == 0:
        return np.array([0, len(ids)])
    variance = sum_of(keep * (1 - keep)) / total
    rows = math.ceil(total / max(words - 4 * math.sqrt(words * variance), 1))
    edges, done = [0], 0.0
    for block in blocks:
        reached = done + np.cumsum(keep[ids[block : block + _BLOCK]])
        done = float(reached[-1])
        last = min(int(done * rows / total), rows - 1)
        wanted = np.arange(len(edges), last + 1) * (total / rows)
        edges += (block + np.searchsorted(reached, wanted, "right")).tolist()
    return np.array(edges + [len(ids)] * (rows + 1 - len(edges)))


def context_row(
    ids: Integer[np.ndarray, " tokens"],
    chosen: Bool[np.ndarray, " tokens"],
    ends: Bool[np.ndarray, " vocab"],
    reach: Int[np.ndarray, " words"],
    window: int,
) -> Row:
    """Give "inputs" (words,) and "near" (words, 2 window + 1) of a row.

    Args:
        ids: a piece of the stream.
        chosen: the tokens of it that stay; those over `words` are dropped.
        ends: the tokens that end windows.
        reach: how far each word looks to both sides.
        window: the longest reach.
    """
    words = len(reach)
    kept = np.flatnonzero(chosen)[:words]
    inputs = np.zeros(words, np.int32)
    inputs[: len(kept)] = ids[kept]
    sentence = np.cumsum(ends[ids])[kept]
    place, own = np.arange(len(kept)), reach[: len(kept)]
    first = np.searchsorted(sentence, sentence) - place
    last = np.searchsorted(sentence, sentence, "right") - 1 - place
    distance = np.arange(-window, window + 1)
    # Behind its last word, a row has nothing near.
    near = np.zeros((words, len(distance)), bool)
    near[: len(kept)] = (distance >= np.maximum(first, -own)[:, None]) & (
        distance <= np.minimum(last, own)[:, None]
    )
    near[:, window] = False
    return {"inputs": inputs, "near": near}
