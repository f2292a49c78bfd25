"""A conversation in the terminal: what was said, and what of it still fits."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int

from lm_jax.data.template import Turn
from lm_jax.errors import UserError
from lm_jax.generation import Sampling
from lm_jax.serving.engine import Engine
from lm_jax.serving.jobs import Job
from lm_jax.serving.opening import Writer


@dataclass
class Conversation:
    """What was said so far, and how answers are drawn.

    Attributes:
        opened: the model.
        engine: that answers.
        system: said before all turns; "" is nothing.
        length: most tokens of an answer.
        sampling: how they are drawn.
        seed: of the first answer's draws; the next one has the next.
        turns: by both sides.
    """

    opened: Writer
    engine: Engine
    system: str = ""
    length: int = 256
    sampling: Sampling = Sampling(temperature=0.8)
    seed: int = 0
    turns: list[Turn] = field(default_factory=list)

    def say(self, text: str) -> tuple[int, Iterator[str]]:
        """Say something; give how many turns are forgotten, and the answer in pieces.

        An answer has room for half of the window, or for ``length``: where the
        conversation leaves less, its oldest turns are forgotten, a question with its
        answer. The system's text stays.

        Raises:
            UserError: the text alone is too long, or has what the tokenizer doesn't
                know; it is not kept then.
        """
        turns = [*self.turns, Turn("user", text)]
        ids, forgotten = self._fitting(turns)
        job = Job(
            ids,
            self.length,
            self.sampling,
            self.seed,
            ends=self.opened.ends,
            stops=self.opened.template.stops,
        )
        self.engine.check(job)
        self.turns, self.seed = turns[forgotten:], (self.seed + 1) % 2**32
        return forgotten, self._answered(job)

    def reset(self) -> None:
        """Forget all that was said."""
        self.turns = []

    def _answered(self, job: Job) -> Iterator[str]:
        said: list[str] = []
        try:
            for piece in self.engine.answer(job):
                said.append(piece.text)
                yield piece.text
        finally:  # what was said before an interruption was said
            self.turns.append(Turn("assistant", "".join(said)))

    def _fitting(self, turns: list[Turn]) -> tuple[Int[np.ndarray, " tokens"], int]:
        """The tokens of the last turns that leave room for an answer."""
        window = self.engine.model.window
        if window is None:
            return self._ids(turns), 0
        room = window - min(self.length, window // 2)
        for first in range(0, len(turns), 2):
            ids = self._ids(turns[first:])
            if len(ids) <= room:
                return ids, first
        raise UserError(
            f"That has {len(ids)} tokens with the system's text, and {room} fit beside "
            f"an answer: say less, or give a smaller --length (now {self.length})."
        )

    def _ids(self, turns: list[Turn]) -> Int[np.ndarray, " tokens"]:
        before = [Turn("system", self.system)] if self.system else []
        return self.opened.template.ids([*before, *turns], self.opened.tokenizer)
