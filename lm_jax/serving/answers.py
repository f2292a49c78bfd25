"""Answers in the form that OpenAI's clients know, whole or piece by piece."""

import base64
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from lm_jax.serving.asked import Asked
from lm_jax.serving.writing import Piece, Token
from lm_jax.tokenizers import Trained


@dataclass(frozen=True)
class Form:
    """How the answers to one request are told.

    Attributes:
        asked: what was asked.
        model: its name.
        tokenizer: that spells tokens.
        id, created: of the answer.
    """

    asked: Asked
    model: str
    tokenizer: Trained
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, answers: Sequence[Sequence[Piece]]) -> dict[str, Any]:
        """Tell all answers at once; each is its pieces."""
        choices = [self._choice(k, pieces) for k, pieces in enumerate(answers)]
        written = sum(len(piece.tokens) for pieces in answers for piece in pieces)
        return self._told(choices) | {"usage": self.usage(written)}

    def first(self, number: int) -> dict[str, Any]:
        """Tell what a stream begins with: who speaks, or the prompt that is echoed."""
        delta = {"role": "assistant", "content": ""}
        text = {"delta": delta} if self.asked.chat else {"text": self._before(number)}
        choice = {"index": number, **text, "logprobs": None, "finish_reason": None}
        return self._told([choice], ".chunk")

    def piece(self, number: int, piece: Piece) -> dict[str, Any]:
        """Tell what an answer grew by."""
        text = (
            {"delta": {"content": piece.text}}
            if self.asked.chat
            else {"text": piece.text}
        )
        choice = {"index": number, **text, "logprobs": self._logprobs(piece.tokens)}
        return self._told([choice | {"finish_reason": piece.reason}], ".chunk")

    def last(self, written: int) -> dict[str, Any]:
        """Tell the numbers of tokens, which end a stream where they are asked for."""
        return self._told([], ".chunk") | {"usage": self.usage(written)}

    def usage(self, written: int) -> dict[str, int]:
        """Count tokens: several answers to one prompt read it once."""
        read = sum(len(job.ids) for job in self.asked.jobs if job.choice == 0)
        counts = {"prompt_tokens": read, "completion_tokens": written}
        return counts | {"total_tokens": read + written}

    def _told(self, choices: list, chunk: str = "") -> dict[str, Any]:
        chat = self.asked.chat
        return {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{self.id}",
            "object": f"chat.completion{chunk}" if chat else "text_completion",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }

    def _before(self, number: int) -> str:
        return self.asked.prompts[number]

    def _choice(self, number: int, pieces: Sequence[Piece]) -> dict[str, Any]:
        text = "".join(piece.text for piece in pieces)
        tokens = [token for piece in pieces for token in piece.tokens]
        said = (
            {"message": {"role": "assistant", "content": text}}
            if self.asked.chat
            else {"text": self._before(number) + text}
        )
        choice = {"index": number, **said, "logprobs": self._logprobs(tokens)}
        return choice | {"finish_reason": pieces[-1].reason}

    def _logprobs(self, tokens: Sequence[Token]) -> dict[str, Any] | None:
        count = self.asked.logprobs
        if count is None:
            return None
        told = [(token, token.likeliest[:count]) for token in tokens]
        if self.asked.chat:
            return {"content": [self._scored(t.id, t.logprob, a) for t, a in told]}
        return {
            "tokens": [self._spelled(token.id) for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [
                {self._spelled(i): logprob for i, logprob in alternatives}
                for _, alternatives in told
            ],
            "text_offset": [token.offset for token in tokens],
        }

    def _scored(
        self, id: int, logprob: float | None, alternatives: Sequence | None = None
    ) -> dict[str, Any]:
        spelled = self._spelled(id)
        told = {"token": spelled, "logprob": logprob, "bytes": list(spelled.encode())}
        if alternatives is None:
            return told
        return told | {"top_logprobs": [self._scored(*each) for each in alternatives]}

    def _spelled(self, id: int) -> str:
        """What a token adds to a text; a part of a character as it is printed."""
        once, twice = self.tokenizer.decode([id]), self.tokenizer.decode([id, id])
        text = twice[len(once) :]
        return (
            text if text and "\ufffd" not in text else self.tokenizer.symbols([id])[0]
        )


def vectors_told(
    vectors: Float[np.ndarray, "texts width"],
    tokens: int,
    model: str,
    packed: bool,
) -> dict[str, Any]:
    """Tell vectors.

    Args:
        vectors: of the inputs.
        tokens: that were read.
        model: its name.
        packed: whether each is base64 of float32 numbers, the lowest byte first.
    """
    data = [
        {
            "object": "embedding",
            "index": k,
            "embedding": base64.b64encode(vector.astype("<f4").tobytes()).decode()
            if packed
            else vector.tolist(),
        }
        for k, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": model, "usage": usage}
