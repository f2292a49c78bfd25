"""The text of an answer while it grows: what of it is settled, and where it ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int

from lm_jax.tokenizers import Trained

Reason = Literal["stop", "length"]

# Tokens of the prompt that the first tokens of the answer are decoded after: some
# tokenizers drop the space at the beginning of a text.
_BEFORE = 8
# A character that isn't whole yet shows as this, at most three times.
_NO_CHARACTER = "\ufffd"


@dataclass(frozen=True)
class Token:
    """A token of an answer.

    Attributes:
        id: of it.
        offset: characters of the answer before it.
        logprob: of it, nats; None where nobody asked.
        likeliest: the likeliest tokens and their log-probabilities.
    """

    id: int
    offset: int = 0
    logprob: float | None = None
    likeliest: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Piece:
    """What an answer grew by.

    Attributes:
        text: that is settled: the pieces of an answer join to the whole of it.
        tokens: that it came from.
        reason: why the answer ends here; None where it goes on.
    """

    text: str
    tokens: tuple[Token, ...]
    reason: Reason | None = None


class Writing:
    """An answer that grows by tokens.

    Args:
        tokenizer: of the model.
        prompt: tokens before the answer.
        ends: tokens that end it, and are no part of it.
        stops: strings that end it, and are no part of it.
    """

    def __init__(
        self,
        tokenizer: Trained,
        prompt: Int[np.ndarray, " tokens"],
        ends: Sequence[int] = (),
        stops: Sequence[str] = (),
    ):
        self._tokenizer, self._ends, self._stops = tokenizer, ends, stops
        self._ids = [int(i) for i in prompt[-_BEFORE:]]
        self._before = len(tokenizer.decode(self._ids))
        self._whole = self._given = ""
        self._tokens: list[Token] = []

    def add(self, token: Token, last: bool = False) -> Piece | None:
        """Add a token; give what is settled since, None where nothing is.

        Args:
            token: its offset is filled in.
            last: whether the answer may have no more.
        """
        if token.id in self._ends:
            return self._end("stop", len(self._whole))
        self._tokens.append(_placed(token, len(self._whole)))
        self._ids.append(token.id)
        self._whole = self._tokenizer.decode(self._ids)[self._before :]
        found = [self._whole.find(stop, len(self._given)) for stop in self._stops]
        if stopped := [place for place in found if place >= 0]:
            return self._end("stop", min(stopped))
        if last:
            return self._end("length", len(self._whole))
        return self._settled()

    def cut(self) -> Piece:
        """End the answer here, with what was held back."""
        return self._end("length", len(self._whole))

    def _settled(self) -> Piece | None:
        text = self._whole
        for _ in range(3):
            text = text.removesuffix(_NO_CHARACTER)
        text = text[: len(text) - self._begun(text)]
        # What a later token changed can't be taken back: wait until it can go on.
        if len(text) <= len(self._given) or not text.startswith(self._given):
            return None
        return self._give(text, None)

    def _begun(self, text: str) -> int:
        """How many characters at the end of a text may begin a stop string."""
        most = max(map(len, self._stops), default=1) - 1
        for count in range(min(most, len(text)), 0, -1):
            if any(stop.startswith(text[-count:]) for stop in self._stops):
                return count
        return 0

    def _end(self, reason: Reason, length: int) -> Piece:
        """Give what is left of the answer, which has so many characters."""
        self._tokens = [t for t in self._tokens if t.offset < length or t.offset == 0]
        return self._give(self._whole[:length], reason)

    def _give(self, text: str, reason: Reason | None) -> Piece:
        piece = Piece(text[len(self._given) :], tuple(self._tokens), reason)
        self._given, self._tokens = text, []
        return piece


def _placed(token: Token, offset: int) -> Token:
    return Token(token.id, offset, token.logprob, token.likeliest)
