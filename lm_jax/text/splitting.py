"""Which text trains, and which is held out: a pure function of the text."""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import NamedTuple

from lm_jax.errors import UserError

SPLITS = ("train", "validation", "test")
NOT_SPLIT = "Nothing of it is held out."
"""How a text is split of which all would train, or all is scored."""


class Shares(NamedTuple):
    """The shares of a text that are held out."""

    validation: float
    test: float


class Piece(NamedTuple):
    """Some text of one split; `last` where a document ends with it."""

    split: str
    text: str
    last: bool


def bounds(total: int, shares: Shares) -> tuple[int, int]:
    """Give the characters where the training and the validation part end."""
    train = int(total * (1 - shares.validation - shares.test))
    return train, int(total * (1 - shares.test)) if shares.test else total


def by_position(blocks: Iterator[str], total: int, shares: Shares) -> Iterator[Piece]:
    """Cut one text of `total` characters: train, then validation, then test.

    Raises:
        UserError: it has not as many characters as were counted before.
    """
    train, validation = bounds(total, shares)
    ends = {"train": train, "validation": validation, "test": total}
    done = 0
    for block in blocks:
        if done + len(block) > total:
            raise _changed(total)
        while block:
            split = next(name for name, end in ends.items() if done < end)
            text, block = block[: ends[split] - done], block[ends[split] - done :]
            done += len(text)
            yield Piece(split, text, done == ends[split])
    if done < total:
        raise _changed(total)


def _changed(total: int) -> UserError:
    return UserError(
        f"The text has no longer the {total:,} characters that were counted: it was "
        "changed while it was read. Start again when it is complete."
    )


def drawn_beside(named: Iterable[str], shares: Shares) -> Shares:
    """Give the shares that are drawn where some texts name their split: no test.

    Args:
        named: the split that each text names; "" is to be drawn.
        shares: that are held out where none names one.
    """
    return shares._replace(test=0.0) if any(named) else shares


def share(digest: str, shares: Shares, own: str = "") -> str:
    """Give the split of a document: its own, else drawn by its digest."""
    if own:
        return own
    number = int(digest[:13], 16) / 16**13
    if number < shares.validation:
        return "validation"
    return "test" if number < shares.validation + shares.test else "train"


def by_digest(documents: Iterator[str], own: str, shares: Shares) -> Iterator[Piece]:
    """Give each document to its own split, or where that is empty, by digest.

    So a document stays where it is whatever else the corpus holds, and copies
    of it are never on both sides.
    """
    for document in documents:
        yield Piece(share(digest_of(document), shares, own), document, True)


def size_of(text: str) -> int:
    """Give the bytes of a text in UTF-8; one of ASCII needn't be encoded."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def digest_of(document: str) -> str:
    """Give the digest that a document is split by."""
    return sha256(document.encode("utf-8", "surrogatepass")).hexdigest()


def ended(split: str, blocks: Iterator[str]) -> Iterator[Piece]:
    """Mark the last block as the end of a document."""
    held = next(blocks, "")
    for block in blocks:
        yield Piece(split, held, False)
        held = block
    yield Piece(split, held, True)
