"""What models of every family do with texts: they go on, or answer with others."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Int

from lm_jax.errors import UserError, nearest
from lm_jax.generation import Beam, Constraint, Continuation, Contrastive, Sampling
from lm_jax.generation.constraints import Grammar
from lm_jax.generation.stopping import (
    certain,
    check_stops,
    first_stop,
    tokens_to_stop,
)
from lm_jax.tokenizers import Trained
from lm_jax.tokenizers.specials import spelled
from lm_jax.tokenizers.trained import prompted, written

Search = Beam | Contrastive
"""What finds a text, where none is drawn."""

Told = Callable[[Sequence[str]], None]
"""Told the new text of each prompt so far: what no later token changes."""


class Written(NamedTuple):
    """What was written for one prompt.

    Attributes:
        prompt: as the tokens say it.
        text: new: without the prompt, what ended it, and a stop string.
        tokens: of it, as they are printed, with what ended it.
        log_probabilities: ln p of each, before penalties, temperature and cuts.
        finish_reason: "stop" at an end or a stop string, or where the text is all that
            a constraint asks for; "length" where it is cut off.
        score: of a beam search: see `Beam`; else the sum of the ln p.
    """

    prompt: str
    text: str
    tokens: tuple[str, ...]
    log_probabilities: tuple[float, ...]
    finish_reason: Literal["stop", "length"]
    score: float


NOTHING = Written("", "", (), (), "stop", 0.0)


@dataclass(frozen=True)
class Texts(ABC):
    """What models of every family do with texts."""

    experiment: Any
    tokenizer: Trained

    @property
    def from_sources(self) -> bool:
        """Whether it writes a text from another one, and doesn't go on with it."""
        return False

    @property
    def embeds(self) -> bool:
        """Whether it gives vectors of whole texts, as a `BiEncoder` does."""
        return False

    @property
    def longest(self) -> int | None:
        """Tokens that it reads at once, at most; None is any number."""
        return None

    def generate(
        self,
        prompts: str | Sequence[str | None],
        length: int = 200,
        sampling: Sampling = Sampling(temperature=0.8),
        seed: int = 0,
        beam: Search | None = None,
        constraint: Constraint | None = None,
        **changed: Any,
    ) -> list[str]:
        """Continue texts by ``length`` tokens each; the prompts are given back too.

        Fields of `Sampling` can be given by themselves: ``temperature=0``, ``top_k=5``.

        A prompt begins a document, where the training text has documents; one that is
        None begins as that text does. To an encoder-decoder prompts are sources, and
        what it writes of them alone is given, until its end.

        Args:
            prompts: one or more.
            length: tokens to add to each, at most.
            sampling: how each is drawn.
            seed: of the draws.
            beam: searches instead.
            constraint: what each new text is to be: `Choices`, a `Regex`, a `Schema`.
            changed: fields of the sampling.

        Raises:
            UserError: the model writes no text; a prompt is empty or has what the
                tokenizer doesn't know; the seed is none; a name is no field's; a text
                is cut off before it is what the constraint asks for.
        """
        known = [field.name for field in fields(Sampling)]
        others = ["length", "sampling", "seed", "beam", "constraint"]
        for name in changed.keys() - known:
            there = nearest(name, [*others, *known])
            raise UserError(f"generate takes no {name}=.{there}")
        sampling = replace(sampling, **changed)
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        found = self.write(
            texts, length, sampling, seed, beam=beam, constraint=constraint
        )
        if constraint is not None:
            whole_or_raise(found, length)
        if self.from_sources:
            return [best.text for best, *_ in found]
        return [best.prompt + best.text for best, *_ in found]

    def write(
        self,
        prompts: Sequence[str | None],
        length: int = 200,
        sampling: Sampling = Sampling(temperature=0.8),
        seed: int = 0,
        *,
        beam: Search | None = None,
        constraint: Constraint | None = None,
        stop: Sequence[str] = (),
        to_end: bool = False,
        numbers: Sequence[int] | None = None,
        told: Told | None = None,
    ) -> list[list[Written]]:
        """Continue texts, and say how each token came about; see `generate`.

        Args:
            prompts, length, sampling, seed: as of `generate`.
            beam: searches instead, and gives the ``best`` texts of each prompt.
            constraint: what each new text is to be; it ends where nothing may follow,
                or where a document may end and does.
            stop: a text ends before the first of these strings in it.
            to_end: whether it ends where a document does. A target always does.
            numbers: of the prompts, by which they are drawn; None counts from 0.
            told: is told what is there so far; nothing of a beam search.
        """
        check_stops(stop)
        end = self._end(to_end)
        how: dict[str, Any] = {"beam": beam, "numbers": numbers}
        if constraint is not None:
            end = self.tokenizer.end_id if end is None else end
            how["grammar"] = self._grammar(constraint, end, length, beam, stop)
        ids = [self._read(text) for text in prompts]
        given = [self._given(text) for text in prompts]
        before = [np.zeros(0, np.int32)] * len(ids) if self.from_sources else given

        def text_of(row: int, tokens: Int[np.ndarray, " tokens"]) -> str:
            start = written(self.tokenizer, before[row])
            whole = written(self.tokenizer, np.concatenate([before[row], tokens]))
            return whole[len(start) :]

        def watch(found: Sequence[Continuation]) -> list[bool]:
            texts = [text_of(row, one.tokens) for row, one in enumerate(found)]
            ends = [first_stop(text, stop) for text in texts]
            if told is not None:
                both = zip(texts, ends, strict=True)
                told([certain(text[:end], stop) for text, end in both])
            return [end is not None for end in ends]

        rows = self.continuations(
            ids,
            length,
            sampling,
            seed,
            end=end,
            watch=watch if stop or told else None,
            **how,
        )
        return [
            [self._written(text, one, partial(text_of, row), stop) for one in found]
            for row, (text, found) in enumerate(zip(prompts, rows, strict=True))
        ]

    def _written(
        self,
        prompt: str | None,
        found: Continuation,
        text_of: Callable[[np.ndarray], str],
        stop: Sequence[str],
    ) -> Written:
        """Cut what was written where it ends."""
        tokens = found.tokens
        body = tokens[: len(tokens) - found.ended]
        text = text_of(body)
        place, over = first_stop(text, stop), found.ended or found.whole
        if place is not None:
            count = tokens_to_stop(lambda n: text_of(body[:n]), len(body), stop)
            tokens, text = tokens[:count], text[:place]
        return Written(
            prompt=self.canonical(prompt),
            text=text,
            tokens=tuple(self.tokenizer.symbols(tokens)),
            log_probabilities=tuple(found.log_probabilities[: len(tokens)].tolist()),
            finish_reason="stop" if place is not None or over else "length",
            score=found.score,
        )

    def _grammar(
        self,
        constraint: Constraint,
        end: int | None,
        length: int,
        beam: Search | None,
        stop: Sequence[str],
    ) -> Grammar:
        """What a constraint allows of the tokens.

        Raises:
            UserError: it is none, or needs more tokens; it can't stand beside the rest.
        """
        if beam is not None or stop:
            raise UserError(
                "A constraint acts on drawn tokens, and says itself where a text ends: "
                f"leave {'the search' if beam else 'the stop strings'} out."
            )
        grammar = Grammar(constraint, self.tokenizer, end)
        grammar.check(length)
        return grammar

    def canonical(self, prompt: str | None) -> str:
        """The text of a prompt as its tokens say it."""
        return written(self.tokenizer, self._given(prompt))

    def _given(self, prompt: str | None) -> Int[np.ndarray, " tokens"]:
        """The ids of a prompt's own text."""
        return spelled(self.tokenizer, prompt or "")

    def _read(self, prompt: str | None) -> Int[np.ndarray, " _"]:
        """The ids that a prompt is read as."""
        return prompted(self.tokenizer, prompt)

    def _end(self, to_end: bool) -> int | None:
        """The token that ends a text."""
        if not to_end:
            return None
        if self.tokenizer.end_id is None:
            raise UserError(
                "The training text has no documents: no token ends a text. Leave "
                "--to-end out."
            )
        return self.tokenizer.end_id

    @abstractmethod
    def continuations(
        self,
        prompts: Sequence[Int[np.ndarray, " _"]],
        length: int,
        sampling: Sampling,
        seed: int,
        *,
        beam: Search | None = None,
        end: int | None = None,
        numbers: Sequence[int] | None = None,
        grammar: Grammar | None = None,
        watch: Any = None,
    ) -> list[list[Continuation]]:
        """Continue prompts of (tokens,), or write of sources; see `continue_prompts`.

        Raises:
            UserError: when the model writes no text.
        """

    def generate_ids(
        self,
        prompts: Sequence[Int[np.ndarray, " _"]],
        length: int,
        sampling: Sampling,
        seed: int,
        beam: Search | None = None,
        to_end: bool = False,
    ) -> Any:
        """Continue prompts of (tokens,) by ``length`` tokens each.

        Args:
            prompts, length, sampling, seed, beam: as of `write`.
            to_end: whether a text ends where a document does. A target always does.

        Returns:
            New tokens (batch, length); where texts end a list, each up to its end.

        Raises:
            UserError: when the model writes no text.
        """
        end = self._end(to_end)
        found = self.continuations(prompts, length, sampling, seed, beam=beam, end=end)
        new = [row[0].tokens[: len(row[0].tokens) - row[0].ended] for row in found]
        if end is not None:
            return new
        return np.stack(new) if new else np.zeros((0, length), np.int32)


def write_all(
    model: Texts,
    prompts: Sequence[str | None],
    length: int,
    sampling: Sampling,
    seed: int,
    together: int = 16,
    **how: Any,
) -> list[list[Written]]:
    """Write for any number of prompts, some at a time; as many come out as go in.

    An empty prompt begins as the training text does; of an empty source nothing is
    written. Which prompts are written together changes none of them.

    Args:
        model: of any family.
        prompts: in the order of what is given back.
        length, sampling, seed: as of `Texts.generate`.
        together: prompts of a batch.
        how: further arguments of `Texts.write`.
    """
    found = [[NOTHING]] * len(prompts)
    asked = [i for i, text in enumerate(prompts) if text or not model.from_sources]
    asked.sort(key=lambda i: len(prompts[i] or ""))
    for start in range(0, len(asked), together):
        some = asked[start : start + together]
        texts = [prompts[i] or None for i in some]
        rows = model.write(texts, length, sampling, seed, numbers=some, **how)
        for i, row in zip(some, rows, strict=True):
            found[i] = row
    return found


def whole_or_raise(found: Sequence[Sequence[Written]], length: int) -> None:
    """See that each text is all that a constraint asked for.

    Raises:
        UserError: one was cut off before.
    """
    cut = sum(best.finish_reason == "length" for best, *_ in found)
    if cut:
        raise UserError(
            f"{cut} of {len(found)} texts are cut off after {length} tokens, before "
            "they are what the constraint asks for: give them a greater length."
        )
