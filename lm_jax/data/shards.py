"""Chunks of a text that several machines encode, each its share, until all are joined.

Every machine reads the whole text, which takes little beside encoding it, and keeps the
ids of its own chunks where all see them. Whoever makes the tokens then takes those that
are there and encodes the others: the same bytes as one machine alone.
"""

import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lm_jax.errors import UserError
from lm_jax.files import atomic_write
from lm_jax.tokenizers.chunks import Coded, Encoded


class Share(NamedTuple):
    """The chunks of one of several machines: every `of`-th, from `number` on."""

    number: int
    of: int

    @classmethod
    def read(cls, number: str | None, of: str | None) -> "Share":
        """Read a share as it is typed.

        Raises:
            UserError: it is none.
        """
        said = [each if each and each.isdigit() else "-1" for each in (number, of)]
        share = cls(*map(int, said))
        if not 0 <= share.number < share.of:
            given = " ".join(
                f"{flag} {each}" if each is not None else f"no {flag}"
                for flag, each in (("--share", number), ("--shares", of))
            )
            raise UserError(
                f"{given}: give --shares N, of 1 or more, and --share K, from 0 to "
                "N - 1."
            )
        return share

    def has(self, chunk: int) -> bool:
        """Whether a chunk is in it."""
        return chunk % self.of == self.number


class Shared(Exception):
    """A share is encoded: no tokens are made in this process."""


_SHARE: ContextVar[Share | None] = ContextVar("share", default=None)


def own_share() -> Share | None:
    """The share that this process encodes; None where it makes the tokens."""
    return _SHARE.get()


@contextmanager
def encoding_share(share: Share) -> Iterator[None]:
    """Encode a share alone: preparing data ends by `Shared`, if it has to be made."""
    token = _SHARE.set(share)
    try:
        yield
    finally:
        _SHARE.reset(token)


class Shards:
    """The folder of the chunks that were encoded of some texts.

    Args:
        folder: of theirs; it need not be there.
        place: of the text, among those that follow each other.
    """

    def __init__(self, folder: Path, place: int):
        self._folder, self._place = folder, place

    def path(self, chunk: int) -> Path:
        """Where a chunk is kept."""
        return self._folder / f"{self._place}-{chunk}.npz"

    def keep(self, chunk: int, encoded: Encoded) -> None:
        """Keep what a chunk was encoded to."""
        about = encoded._replace(ids=None, coded=tuple(encoded.coded))  # type: ignore[arg-type]
        file = io.BytesIO()
        np.savez(file, ids=encoded.ids, about=json.dumps(about))
        atomic_write(self.path(chunk), file.getvalue())

    def kept(self, chunk: int) -> Encoded | None:
        """What a chunk was encoded to; None where that isn't kept whole."""
        try:
            with np.load(self.path(chunk)) as found:
                split, _, ends, unknown, coded, *joints = json.loads(
                    str(found["about"])
                )
                ids = found["ids"]
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
            return None
        return Encoded(split, ids, ends, unknown, Coded(*coded), *joints)
