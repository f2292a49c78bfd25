"""The text of an answer while it grows: what of it is settled, and where it ends."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Int

from lm_jax.generation.stopping import certain, first_stop
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
        self._before = len(_whole(tokenizer.decode(self._ids)))
        self._text = self._given = ""
        self._tokens: list[Token] = []

    def add(self, token: Token, last: Reason | None = None) -> Piece | None:
        """Add a token; give what is settled since, None where nothing is.

        Args:
            token: its offset is filled in.
            last: why the answer has no more; None where it may go on.
        """
        if token.id in self._ends:
            return self._give(self._text, "stop")
        self._tokens.append(replace(token, offset=len(_whole(self._text))))
        self._ids.append(token.id)
        self._text = self._tokenizer.decode(self._ids)[self._before :]
        place = first_stop(self._text, self._stops)
        if place is not None:
            return self._give(self._text[:place], "stop")
        return self.cut(last) if last else self._settled()

    def cut(self, reason: Reason = "length") -> Piece:
        """End the answer here, with what was held back."""
        return self._give(self._text, reason)

    def _settled(self) -> Piece | None:
        text = certain(self._text, self._stops)
        # What a later token changed can't be taken back: wait until it can go on.
        if len(text) <= len(self._given) or not text.startswith(self._given):
            return None
        return self._give(text, None)

    def _give(self, text: str, reason: Reason | None) -> Piece:
        """Give the text up to here, with the tokens that it came from."""
        if reason == "length":  # those that are no text too
            count = len(self._tokens)
        else:
            count = sum(token.offset < len(text) for token in self._tokens)
        piece = Piece(text[len(self._given) :], tuple(self._tokens[:count]), reason)
        self._given, self._tokens = text, self._tokens[count:]
        return piece


def _whole(text: str) -> str:
    """A text without the character at its end that isn't whole yet."""
    for _ in range(3):
        text = text.removesuffix(_NO_CHARACTER)
    return text
