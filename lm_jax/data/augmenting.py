"""Texts that training reads a little changed, anew each time that they come.

Operations of Wei and Zou 2019 (arXiv 1901.11196, 2) that need no dictionary, and
BPE-dropout. What is drawn depends on the seed, the epoch, the example, the text and
the kind of operation alone; an evaluation reads texts as they are.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from lm_jax.bounds import check, within
from lm_jax.data.bpe_dropout import BPEDropout
from lm_jax.data.examples import joined, side_by_side
from lm_jax.data.masking import MASK
from lm_jax.data.order import Redraw
from lm_jax.data.randomness import Draw, uniform
from lm_jax.data.windows import Row
from lm_jax.errors import UserError
from lm_jax.tokenizers import Subwords, Tokenizer, Trained
from lm_jax.tokenizers.specials import with_mask

Ids = Int[np.ndarray, " _"]
Change = Callable[[Ids, Draw], Ids]
"""Of the tokens of a text: those that are read in their place, perhaps more or less."""


@dataclass(frozen=True)
class Mask:
    """Hide tokens: each becomes <mask> by chance."""

    rate: float = within("[0, 1)", 0.1)
    """Chance of each token."""

    def __post_init__(self) -> None:
        """Refuse what is no chance."""
        check(self, "data.augment: Mask")

    def change(self, tokenizer: Trained) -> Change:
        """Give what hides tokens by the token that the tokenizer has for it."""
        mask_id = with_mask(tokenizer, MASK)[1]
        return lambda ids, draw: np.where(draw(len(ids)) < self.rate, mask_id, ids)


@dataclass(frozen=True)
class Delete:
    """Leave out tokens, each by chance; of a text that would be empty one stays."""

    rate: float = within("[0, 1)", 0.1)
    """Chance of each token."""

    def __post_init__(self) -> None:
        """Refuse what is no chance."""
        check(self, "data.augment: Delete")

    def change(self, tokenizer: Trained) -> Change:
        """Give what leaves out tokens."""

        def deleted(ids: Ids, draw: Draw) -> Ids:
            kept = draw(len(ids)) >= self.rate
            if len(ids) and not kept.any():
                kept[int(draw(1)[0] * len(ids))] = True
            return ids[kept]

        return deleted


@dataclass(frozen=True)
class Swap:
    """Let tokens change places, each by chance with any other of its text."""

    rate: float = within("[0, 1)", 0.1)
    """Swaps for each token, made one after the other."""

    def __post_init__(self) -> None:
        """Refuse what is no chance."""
        check(self, "data.augment: Swap")

    def change(self, tokenizer: Trained) -> Change:
        """Give what swaps tokens."""

        def swapped(ids: Ids, draw: Draw) -> Ids:
            ids, count = ids.copy(), len(ids)
            chosen, others = draw(count) < self.rate, draw(count).tolist()
            for one in np.flatnonzero(chosen).tolist() if count > 1 else ():
                other = (one + 1 + int(others[one] * (count - 1))) % count
                ids[one], ids[other] = ids[other], ids[one]
            return ids

        return swapped


Augmentation = Mask | Delete | Swap | BPEDropout


def check_augment(augment: tuple[Augmentation, ...], tokenizer: Tokenizer) -> None:
    """Refuse operations that stand twice, or that the tokenizer has no pieces for.

    Raises:
        UserError: naming them.
    """
    kinds = [type(each).__name__ for each in augment]
    if twice := {kind for kind in kinds if kinds.count(kind) > 1}:
        raise UserError(
            f"data.augment has {', '.join(sorted(twice))} more than once: give each "
            "once, with a higher rate."
        )
    merged = isinstance(tokenizer, Subwords) and tokenizer.kind == "bpe"
    if "BPEDropout" in kinds and not merged:
        raise UserError(
            "data.augment: BPEDropout leaves out merges of characters, and "
            f"data.tokenizer={tokenizer} has none. Use Subwords(kind='bpe')."
        )


def told_augment(augment: tuple[Augmentation, ...]) -> list[str]:
    """Say how training texts are changed; nothing where they aren't."""
    if not augment:
        return []
    said = ", ".join(f"{type(each).__name__} {each.rate:g}" for each in augment)
    return [f"Training reads each text changed anew: {said}. Evaluations don't."]


def augmented(
    augment: tuple[Augmentation, ...], tokenizer: Trained, each: int
) -> tuple[Trained, Redraw | None]:
    """Give the tokenizer of augmented texts, and what changes a row of training.

    Args:
        augment: what is done to each text, in this order.
        tokenizer: trained.
        each: texts of a row; where there are 2, the end of each stays where it is.

    Returns:
        The tokenizer, with a token to hide others by where one is needed; and of a
        row, the seed, the epoch and the example: the row that is read.
    """
    if not augment:
        return tokenizer, None
    changes = {type(a).__name__: a.change(tokenizer) for a in augment}
    around = tokenizer.around
    before = around.before(each) if around else ((),) * each
    ended = int(tokenizer.end_id is not None)

    def redrawn(row: Row, seed: int, epoch: int, example: int) -> Row:
        ids, segments = row["inputs"], row["segments"]
        parts = []
        for text in range(1, each + 1):
            own = ids[segments == text][len(before[text - 1]) :]
            own, end = own[: len(own) - ended], own[len(own) - ended :]
            for name, change in changes.items():
                draw = uniform(seed, "augment", name, epoch, example, text)
                own = change(own, draw)
            parts.append(np.concatenate([own, end]))
        return row | side_by_side(joined(parts, len(ids), around), len(ids))

    if "Mask" in changes:
        tokenizer, _ = with_mask(tokenizer, MASK)
    return tokenizer, redrawn
