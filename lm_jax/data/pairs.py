"""Pairs of texts with some tokens hidden: whether the second follows the first."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import grain
import numpy as np
from jaxtyping import Int64

from lm_jax.data.fields import Field, inputs, mask, segments
from lm_jax.data.masking import MASK, check_masking, choose, hide
from lm_jax.data.prepared import Prepared, check_context
from lm_jax.data.randomness import Draw, endless, uniform
from lm_jax.data.sentences import Marks, marks_of, passages_of, sentences_of
from lm_jax.data.tokens import Progress, Tokens, tokenize
from lm_jax.data.windows import Row, Windows
from lm_jax.errors import UserError
from lm_jax.text import Corpus, find
from lm_jax.tokenizers import Subwords, Tokenizer
from lm_jax.tokenizers.specials import with_mask
from lm_jax.tokenizers.trained import Around

Swap = Literal["next", "order"]
# A row begins with an end of document, and has one after each text.
_ENDS = 3


@dataclass(frozen=True)
class SentencePairs:
    """Two texts that follow each other, or don't, with some of their tokens hidden.

    A document is cut into passages of sentences that fill the context, and a passage
    anywhere in two. In half of the rows the second text is another's (Devlin et al.
    2019, 3.1, task 2), or both change places (Lan et al. 2020, 3.1). A sentence ends
    at a line end, after . ! or ? before white space, and after 。！？.

    The rows are those of a `MaskedStream`, with "types" (context,), 0 in the first
    text and 1 in the second, and "swapped" (), 1 where it doesn't follow. A token that
    ends a document stands before the first, and after each; it is never hidden. A
    checkpoint's tokenizer puts there what it did then, as BERT's [CLS] and [SEP].
    """

    gives: ClassVar[tuple[str, ...]] = (
        "inputs",
        "originals",
        "mask",
        "masked_positions",
        "segments",
        "types",
        "swapped",
    )

    corpus: Corpus = Corpus()
    """The documents."""
    tokenizer: Tokenizer = Subwords()
    context: int = 128
    """Tokens of one example."""
    swap: Swap = "next"
    """What stands second in half of the rows: "next", a text of another document;
    "order", the first text of both."""
    rate: float = 0.15
    """Share of the tokens that are chosen."""
    mask: float = 0.8
    """Share of the chosen that become <mask>."""
    random: float = 0.1
    """Share of the chosen that become any token; the others stay as they are."""

    def __post_init__(self) -> None:
        """Refuse shares that are none, and contexts without two texts."""
        check_context(self.context)
        if self.context < _ENDS + 2:
            raise UserError(
                f"data.context={self.context}: two texts and the {_ENDS} tokens "
                f"around them are {_ENDS + 2} or more."
            )
        check_masking(self.rate, self.mask, self.random, self.context, _ENDS)

    def prepare(self, cache: Path, progress: Progress | None = None) -> Prepared:
        """Read, train the tokenizer and tokenize, or find what is in the cache.

        Raises:
            UserError: whatever is wrong with the corpus, the tokenizer's size or the
                space on disk; no document of two sentences; no other document.
        """
        text = find(self.corpus, cache)
        made = tokenize([text], self.tokenizer, True, cache, progress)
        end = made.tokenizer.end_id
        if end is None:
            raise UserError(
                "The texts of a pair need a token between them, and this tokenizer has "
                "none that ends a document. Use Words(), Subwords() or Characters()."
            )
        tokenizer, mask_id = with_mask(made.tokenizer, MASK)
        marks = marks_of(made.tokenizer)
        around = made.tokenizer.around or Around((end,), (), end)
        room = self._room(around)
        passages = {
            k: find_passages(t, marks, end, room) for k, t in made.splits.items()
        }
        masked = self._masked(around, mask_id, made.tokenizer.vocab_size)

        def row(split: str, index: int, seed: int, place: object) -> Row:
            draw = uniform(seed, "pairs", place, index)
            pair = drawn_pair(passages[split], index, self.swap, draw)
            ids = made.splits[split].ids
            parts = fitted([ids[a:b] for a, b in (pair.first, pair.second)], room)
            swapped = np.array(pair.swapped, np.int32)
            found = masked(parts, uniform(seed, "pairs", "masks", place, index))
            return found | {"swapped": swapped}

        def train(seed: int, batch: int) -> grain.MapDataset:
            def drawn(epoch: int, index: int) -> Row:
                return row("train", index, seed, epoch)

            return endless(len(passages["train"].spans), seed, "order", drawn)

        def windows(split: str, batch: int) -> Windows:
            check_passages(passages[split], split, self.swap)

            def fixed(index: int) -> Row:
                return row(split, index, 0, "evaluation")

            return Windows(len(passages[split].spans), fixed, batch)

        def examples(batch: int) -> int:
            return len(passages["train"].spans)

        if "train" in passages:
            check_passages(passages["train"], "train", self.swap)
        told = [f"{name}: {found.said}" for name, found in passages.items()]
        return Prepared(
            tokenizer=tokenizer,
            splits=made.splits,
            statement="\n".join([made.statement, *told]),
            digest=_with_around(made.digest, made.tokenizer.around),
            text=made.text,
            context=self.context,
            fields=pair_fields(self.context, self._chosen(room)),
            examples=examples,
            train=train,
            windows=windows,
        )

    def _room(self, around: Around) -> int:
        """Give the tokens of both texts, at most.

        Raises:
            UserError: what stands around them leaves none.
        """
        room = self.context - around.extra(2)
        if room < 2:
            raise UserError(
                f"data.context={self.context}: two texts and the {around.extra(2)} "
                f"tokens around them are {around.extra(2) + 2} or more."
            )
        return room

    def _chosen(self, tokens: int) -> int:
        """How many of so many tokens are hidden."""
        return max(1, round(self.rate * tokens))

    def _masked(
        self, around: Around, mask_id: int, size: int
    ) -> Callable[[list[np.ndarray], Draw], Row]:
        """Give what puts two texts side by side, and hides some of their tokens."""
        shares, most = (self.mask, self.random), self._chosen(self._room(around))
        begin, between = around.first, (around.end, *around.second)

        def masked(parts: list[np.ndarray], draw: Draw) -> Row:
            first, second = map(len, parts)
            ids = np.concatenate([begin, parts[0], between, parts[1], [around.end]])
            chosen = np.zeros(len(ids), bool)
            sizes = len(begin), first, len(between), second, 1
            is_text = np.repeat([0, 1, 0, 1, 0], sizes) > 0
            words = np.arange(first + second)
            chosen[is_text] = choose(words, self._chosen(len(words)), draw)
            arrays = {
                "inputs": hide(ids, chosen, mask_id, size, *shares, draw),
                "originals": ids.astype(np.int32),
                "mask": chosen.astype(np.float32),
                "segments": np.ones(len(ids), np.int32),
                "types": np.repeat([0, 0, 0, 1, 1], sizes).astype(np.int32),
            }
            missing = (0, self.context - len(ids))
            row = {name: np.pad(array, missing) for name, array in arrays.items()}
            # Where fewer are chosen, the others of these positions have mask 0.
            hidden = np.argsort(-row["mask"], kind="stable")[:most]
            return row | {"masked_positions": hidden.astype(np.int32)}

        return masked


def pair_fields(context: int, chosen: int) -> tuple[Field, ...]:
    """Give the fields of pairs of texts of which so many tokens are hidden."""
    originals = Field("originals", (context,), "int32", "the text, nothing hidden")
    positions = "where the hidden tokens stand"
    types = "which text of a pair: 0 is the first, 1 the second"
    swapped = "0 where the second text follows the first, 1 where it doesn't"
    return (
        inputs(context),
        segments(context),
        originals,
        mask(context),
        Field("masked_positions", (chosen,), "int32", positions),
        Field("types", (context,), "int32", types),
        Field("swapped", (), "int32", swapped),
    )


def _with_around(digest: str, around: Around | None) -> str:
    """Name the rows where a checkpoint's tokenizer says what stands in them."""
    if around is None:
        return digest
    return sha256(f"{around}\n{digest}".encode()).hexdigest()[:20]


class Passages(NamedTuple):
    """The passages of a split, each of two sentences or more."""

    bounds: Int64[np.ndarray, "sentences 2"]
    """Where each sentence starts and stops in the tokens."""
    spans: Int64[np.ndarray, "passages 2"]
    """The first sentence of each, and that after its last."""
    owners: Int64[np.ndarray, " passages"]
    """The document of each, in order."""
    said: str


def find_passages(tokens: Tokens, marks: Marks, end_id: int, room: int) -> Passages:
    """Cut the documents of a split into passages, and say what is left out."""
    found = sentences_of(tokens, marks, end_id)
    bounds = np.stack([found.starts, found.stops], axis=1)
    sizes = found.stops - found.starts
    spans = passages_of(sizes, found.documents, room)
    owners = found.documents[spans[:, 0]]
    total, kept = len(tokens.documents) - 1, len(np.unique(owners))
    ends = np.append([0], np.cumsum(sizes))
    cut = int((np.diff(ends[spans], axis=1) > room).sum())
    said = f"{len(spans):,} pairs of {len(sizes):,} sentences, of {kept:,} documents"
    if total > kept:
        said += f"; {total - kept:,} with less than two sentences are left out"
    if cut:
        said += f"; {cut:,} pairs are cut to {room} tokens"
    return Passages(bounds, spans, owners, f"{said}.")


def check_passages(passages: Passages, split: str, swap: Swap) -> None:
    """Refuse a split without pairs, or without a text to swap.

    Raises:
        UserError: naming it.
    """
    if not len(passages.spans):
        raise UserError(
            f"No document of the split '{split}' has two sentences: there is no pair. "
            "A sentence ends at a line end, after . ! or ? before white space, and "
            "after 。！？. Use longer documents, or MaskedStream."
        )
    if swap == "next" and passages.owners[0] == passages.owners[-1]:
        raise UserError(
            f"The split '{split}' has one document of two sentences or more, and "
            "data.swap='next' needs another. Use --data.swap order, or cut the text "
            "into documents (data.corpus.separator)."
        )


class Pair(NamedTuple):
    """Two texts, as where they start and stop in the tokens."""

    first: tuple[int, int]
    second: tuple[int, int]
    swapped: bool


def drawn_pair(passages: Passages, index: int, swap: Swap, draw: Draw) -> Pair:
    """Cut a passage in two; in half of the cases swap what follows.

    Args:
        passages: of the split.
        index: of the passage.
        swap: for what: see `SentencePairs`.
        draw: gives random numbers.
    """
    cut, lot, other, elsewhere = draw(4).tolist()
    first, second = _cut(passages, index, cut)
    if lot >= 0.5:
        return Pair(first, second, False)
    if swap == "order":
        return Pair(second, first, True)
    # Its own document's passages stand in a row: they are left out.
    owners = passages.owners
    ends = np.searchsorted(owners, [owners[index], owners[index] + 1])
    low, high = ends.tolist()
    place = int(other * (len(owners) - (high - low)))
    place += (high - low) * (place >= low)
    return Pair(first, _cut(passages, place, elsewhere)[1], True)


def _cut(passages: Passages, index: int, lot: float) -> list[tuple[int, int]]:
    """Cut a passage between two of its sentences."""
    first, last = passages.spans[index].tolist()
    middle = first + 1 + int(lot * (last - first - 1))
    bounds = passages.bounds
    return [
        (int(bounds[a, 0]), int(bounds[b - 1, 1]))
        for a, b in ((first, middle), (middle, last))
    ]


def fitted(parts: list[np.ndarray], room: int) -> list[np.ndarray]:
    """Cut two texts to so many tokens together, the longer one first.

    What stands where they meet is kept: of the first its end, of the second its
    beginning.
    """
    first, second = map(len, parts)
    kept = min(second, max(room - first, room // 2))
    return [parts[0][max(0, first - (room - kept)) :], parts[1][:kept]]
