"""Rows with some tokens hidden, for a model that reads from both sides."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import grain
import numpy as np
from jaxtyping import Bool, Int, Integer

from lm_jax.data.fields import Field, inputs, mask, segments
from lm_jax.data.prepared import Prepared, check_context, training_tokens
from lm_jax.data.randomness import Draw, endless, uniform
from lm_jax.data.streams import rows_of_epoch, stream_rows
from lm_jax.data.tokens import Progress, tokenize
from lm_jax.data.windows import Row, Windows
from lm_jax.errors import UserError
from lm_jax.text import Corpus, find
from lm_jax.tokenizers import Subwords, Tokenizer, Trained
from lm_jax.tokenizers.specials import with_mask

MASK = "<mask>"
_CHINESE = re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


@dataclass(frozen=True)
class MaskedStream:
    """One long stream of tokens, cut into contexts with some tokens hidden.

    Of each row, round(rate * context) tokens are chosen (Devlin et al. 2019,
    3.1). The rows have "inputs", with what hides them; "originals", the text;
    "mask", 1 where a token was chosen; and "masked_positions" (chosen,), where those
    stand, so that nothing else needs logits.
    """

    gives: ClassVar[tuple[str, ...]] = (
        "inputs",
        "originals",
        "mask",
        "masked_positions",
        "segments",
    )

    corpus: Corpus = Corpus()
    """The text."""
    tokenizer: Tokenizer = Subwords()
    context: int = 128
    """Tokens of one example."""
    rate: float = 0.15
    """Share of the tokens that are chosen."""
    mask: float = 0.8
    """Share of the chosen that become <mask>."""
    random: float = 0.1
    """Share of the chosen that become any token; the others stay as they are."""
    dynamic: bool = True
    """Choose anew each time that a row comes (Liu et al. 2019, 4.1)."""
    copies: int = 10
    """In how many ways a row is masked, epoch after epoch, if not anew."""
    whole_words: bool = False
    """Choose all pieces of a word together, so never a word longer than what is
    chosen of a row. A word begins at white space; a piece with Chinese
    characters is a word."""

    def __post_init__(self) -> None:
        """Refuse shares that are none, and contexts of which none is chosen."""
        check_context(self.context)
        check_masking(self.rate, self.mask, self.random, self.context)
        if self.copies < 1:
            raise UserError(f"data.copies={self.copies}: give 1 or more.")

    def prepare(self, cache: Path, progress: Progress | None = None) -> Prepared:
        """Read, train the tokenizer and tokenize, or find what is in the cache.

        Raises:
            UserError: whatever is wrong with the corpus, the tokenizer's size
                or the space on disk; a training split shorter than a context.
        """
        text = find(self.corpus, cache)
        made = tokenize([text], self.tokenizer, text.documents, cache, progress)
        splits, context = made.splits, self.context
        tokenizer, mask_id = with_mask(made.tokenizer, MASK)
        masked = self._masked(made.tokenizer, mask_id)

        def train(seed: int, batch: int) -> grain.MapDataset:
            ids = splits["train"].ids
            if self.dynamic:
                return stream_rows(ids, context, seed).map_with_index(
                    lambda i, row: masked(row["inputs"], uniform(seed, "masks", i))
                )

            def fixed(epoch: int, index: int) -> Row:
                draw = uniform(seed, "masks", "copy", epoch % self.copies, index)
                return masked(ids[index * context : (index + 1) * context], draw)

            count = rows_of_epoch(len(ids), context)
            return endless(count, seed, "order", fixed)

        def windows(split: str, batch: int) -> Windows:
            return masked_windows(splits[split].ids, context, batch, masked)

        def examples(batch: int) -> int:
            return rows_of_epoch(training_tokens(made, context), context)

        chosen = f"Of {context} tokens, {round(self.rate * context)} are chosen."
        return Prepared(
            tokenizer=tokenizer,
            splits=splits,
            statement=f"{made.statement}\n{chosen}",
            digest=made.digest,
            text=made.text,
            context=context,
            fields=masked_fields(context, round(self.rate * context)),
            examples=examples,
            train=train,
            windows=windows,
        )

    def _masked(
        self, tokenizer: Trained, mask_id: int
    ) -> Callable[[np.ndarray, Draw], Row]:
        """Give what turns a window of tokens and draws into a row."""
        edges = word_edges(tokenizer) if self.whole_words else None
        most = round(self.rate * self.context)

        def masked(window: np.ndarray, draw: Draw) -> Row:
            ids = np.asarray(window, np.int32)  # No longer a memory map: half the time.
            words = np.arange(len(ids))
            if edges is not None:
                words = numbered_words(ids, edges)
            chosen = choose(words, max(1, round(self.rate * len(ids))), draw)
            size, shares = tokenizer.vocab_size, (self.mask, self.random)
            shown = hide(ids, chosen, mask_id, size, *shares, draw)
            row = {
                "inputs": shown,
                "originals": ids,
                "mask": chosen.astype(np.float32),
            }
            missing = self.context - len(ids)
            row = {name: np.pad(array, (0, missing)) for name, array in row.items()}
            # Where fewer are chosen, the others of these positions have mask 0.
            positions = np.argsort(-row["mask"], kind="stable")[:most]
            return row | {"masked_positions": positions.astype(np.int32)}

        return masked


def masked_fields(context: int, chosen: int) -> tuple[Field, ...]:
    """Give the fields of texts of which so many tokens are hidden."""
    originals = Field("originals", (context,), "int32", "the text, nothing hidden")
    meaning = "where the hidden tokens stand"
    positions = Field("masked_positions", (chosen,), "int32", meaning)
    read = inputs(context), segments(context, "evaluation")
    return (*read, originals, mask(context), positions)


def check_rate(rate: float) -> None:
    """Refuse rates at which nothing or everything is hidden."""
    if not 0 < rate < 1:
        raise UserError(
            f"data.rate={rate}: give the share of the tokens to hide, more than 0 "
            "and less than 1 (0.15 is usual)."
        )


def check_masking(
    rate: float, mask: float, random: float, context: int, ends: int = 0
) -> None:
    """Refuse shares that are none, and texts of which no token is chosen.

    Args:
        rate: share of the tokens to choose.
        mask, random: shares of the chosen.
        context: tokens of an example.
        ends: how many of them are no text.
    """
    check_rate(rate)
    if not (min(mask, random) >= 0 and 0 < mask + random <= 1):
        raise UserError(
            f"data.mask={mask} and data.random={random} are shares of the chosen "
            "tokens: give 0 or more each, and 1 at most together, but not 0 both: what "
            "is not hidden is told rightly by reading it."
        )
    if round(rate * (context - ends)) < 1:
        raise UserError(
            f"data.rate={rate} of data.context={context} tokens is less than one. Use "
            f"--data.context {math.ceil(1 / rate) + ends} or more."
        )


def masked_windows(
    ids: np.ndarray, context: int, batch: int, masked: Callable[[np.ndarray, Draw], Row]
) -> Windows:
    """Give evaluation batches: each token is in one window, the masks are fixed.

    What a window hides depends on its number alone. "segments" is 1 where there
    is a token.

    Args:
        ids: (tokens,).
        context: tokens of a window.
        batch: windows of a batch.
        masked: makes a row of a window of at most `context` tokens.
    """

    def row(index: int) -> Row:
        window = ids[index * context : (index + 1) * context]
        segments = (np.arange(context) < len(window)).astype(np.int32)
        made = masked(window, uniform(0, "evaluation", "masks", index))
        return made | {"segments": segments}

    return Windows(-(-len(ids) // context), row, batch)


def choose(
    words: Int[np.ndarray, " tokens"], most: int, draw: Draw
) -> Bool[np.ndarray, " tokens"]:
    """Choose whole words at random, of `most` tokens together.

    Words are taken in random order until one would be too many; words of one
    token fill what is left, so only where these lack are fewer chosen.

    Args:
        words: the word of each token, numbered from 0 in their order.
        most: tokens to choose.
        draw: gives random numbers.
    """
    sizes = np.bincount(words)
    order = np.argsort(draw(len(sizes)), kind="stable")
    ordered = sizes[order]
    taken = np.cumsum(ordered) <= most
    single = ~taken & (ordered == 1)
    taken |= single & (np.cumsum(single) <= most - ordered[taken].sum())
    chosen = np.zeros(len(sizes), bool)
    chosen[order[taken]] = True
    return chosen[words]


def hide(
    tokens: Integer[np.ndarray, " tokens"],
    chosen: Bool[np.ndarray, " tokens"],
    mask_id: int,
    size: int,
    mask: float,
    random: float,
    draw: Draw,
) -> Int[np.ndarray, " tokens"]:
    """Hide what was chosen: <mask>, any token, or itself (Devlin et al. 2019, 3.1).

    Args:
        tokens: the text.
        chosen: which of them.
        mask_id: of <mask>.
        size: ids before this one are tokens of text.
        mask: chance to become <mask>.
        random: chance to become any token of text.
        draw: gives random numbers.
    """
    lot = draw(len(tokens))
    anything = (draw(len(tokens)) * size).astype(np.int32)
    hidden = np.where(lot < mask + random, anything, tokens)
    hidden = np.where(lot < mask, mask_id, hidden)
    return np.where(chosen, hidden, tokens).astype(np.int32)


def word_edges(tokenizer: Trained) -> Bool[np.ndarray, "2 vocab"]:
    """Tell of each token whether a word begins with it, and whether one ends."""
    if tokenizer.joiner:  # Each token is a word.
        return np.ones((2, tokenizer.vocab_size), bool)
    texts = [tokenizer.decode([i]) for i in range(tokenizer.vocab_size)]
    alone = [not t or "\n" in t or bool(_CHINESE.search(t)) for t in texts]
    spaced = [text[:1].isspace() for text in texts]
    return np.array([np.logical_or(alone, spaced), alone])


def numbered_words(
    tokens: Integer[np.ndarray, " tokens"], edges: Bool[np.ndarray, "2 vocab"]
) -> Int[np.ndarray, " tokens"]:
    """Give the word of each token, from 0; the first word may lack its beginning."""
    begins, ends = edges[0][tokens], edges[1][tokens]
    return np.concatenate([[0], np.cumsum(begins[1:] | ends[:-1])])
