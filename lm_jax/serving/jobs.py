"""Jobs of the engine: a prompt with what is wanted, and who waits for the answer."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int

from lm_jax.generation import Sampling
from lm_jax.generation.constraints import Grammar, Row
from lm_jax.serving.writing import Piece, Writing


class Busy(Exception):
    """As many wait as may: try again later."""


class Late(Exception):
    """The time of a request ran out before its answer began."""


class Closed(Exception):
    """Nothing is answered any longer."""


@dataclass(frozen=True, eq=False)
class Job:
    """A prompt, and what is wanted of its answer.

    Attributes:
        ids: tokens of the prompt.
        length: most tokens of the answer.
        sampling: how they are drawn.
        seed: of the draws.
        choice: which of several answers to the prompt this is: another draws others.
        ends: tokens that end the answer.
        stops: strings that end it.
        grammar: what the answer is to be; None is any text.
        scored: whether log-probabilities are wanted.
        seconds: until the answer is cut; None has no limit.
    """

    ids: Int[np.ndarray, " tokens"]
    length: int
    sampling: Sampling = Sampling()
    seed: int = 0
    choice: int = 0
    ends: tuple[int, ...] = ()
    stops: tuple[str, ...] = ()
    grammar: Grammar | None = None
    scored: bool = False
    seconds: float | None = None


Tell = Callable[[Piece | Exception], None]


@dataclass(eq=False)
class Ticket:
    """A job that was taken; whoever leaves says so here.

    Attributes:
        job: what was asked.
        tell: told each piece of the answer, or why there is none.
        left: whether nobody waits for the answer.
        began: when it was taken, seconds.
        fresh: whether its slot still holds the text before.
        read: tokens of the prompt that were read.
        written: tokens of the answer.
        writing: the answer, once there is a slot for it.
        row: how far it has come of what it is to be.
    """

    job: Job
    tell: Tell
    left: bool = False
    began: float = field(default_factory=time.monotonic)
    fresh: bool = True
    read: int = 0
    written: int = 0
    writing: Writing | None = None
    row: Row | None = None

    @property
    def unread(self) -> int:
        """Tokens to be read before the first step, which reads the last one itself."""
        return len(self.job.ids) - 1 - self.read

    def late(self) -> bool:
        """Whether its time has run out."""
        limit = self.job.seconds
        return limit is not None and time.monotonic() - self.began > limit


@dataclass
class Counts:
    """What the engine has done since it began."""

    answered: int = 0
    left: int = 0
    refused: int = 0
    prompt_tokens: int = 0
    written_tokens: int = 0
    steps: int = 0
    waited_seconds: float = 0.0
    """From the arrival to the first token, all answers together."""
