"""Texts that a model writes of sources, for others to be compared with them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from lm_jax.bounds import SIZES, check, within
from lm_jax.data.prepared import Source
from lm_jax.errors import UserError
from lm_jax.evaluation.fitted import Fitted, Planned, Progress
from lm_jax.generation import Beam, Sampling
from lm_jax.generation.stopping import first_stop
from lm_jax.tokenizers.trained import written

LIKELIEST = Sampling(temperature=0.0)


@dataclass(frozen=True, kw_only=True)
class Writes:
    """What evaluations share that compare a text of each source with its targets.

    Attributes:
        beam: a search for each text; None takes the likeliest token at each step.
        length: tokens of a text, at most.
        rows: texts that are written at once.
        every: how often; None is whenever the watched evaluation is made.
    """

    beam: Beam | None = None
    length: int = within(SIZES, 64)
    rows: int = within(SIZES, 32)
    every: str | None = None

    larger_is_better: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse numbers outside their interval, and a beam that can't be."""
        check(self, "evaluation")
        if self.beam is not None:
            self.beam.check(2)

    def texts(
        self, fitted: Fitted, sources: Sequence[Source], progress: Progress | None
    ) -> list[str]:
        """Write a text of each source; see `write_texts`."""
        return write_texts(
            fitted, sources, self.length, self.rows, beam=self.beam, progress=progress
        )

    def unfit(self, planned: Planned) -> Iterator[str]:
        """Say why it can't be made."""
        if not planned.pairs:
            yield no_pairs(type(self).__name__)


def no_pairs(name: str) -> str:
    """Say that an evaluation has no pairs of texts to compare."""
    return (
        f"{name} compares texts that are written of sources: train by Seq2Seq() on "
        "TextPairs, or by NextToken() on Answers or Conversations."
    )


def pairs_of(fitted: Fitted, split: str, name: str) -> Iterator[tuple[Source, str]]:
    """Give each source of a split with its target.

    Args:
        fitted: the model, beside its data.
        split: of the data.
        name: of the evaluation that asks.

    Raises:
        UserError: the data has none.
    """
    if fitted.data.pairs is None:
        raise UserError(no_pairs(name))
    return fitted.data.pairs(split)


def by_source(
    pairs: Iterable[tuple[Source, str]],
) -> tuple[list[Source], list[list[str]]]:
    """Give each source once, in their order, and all targets of each."""
    found: dict[Source, list[str]] = {}
    for source, target in pairs:
        found.setdefault(source, []).append(target)
    return list(found), list(found.values())


def write_texts(
    fitted: Fitted,
    sources: Sequence[Source],
    length: int,
    rows: int,
    *,
    sampling: Sampling = LIKELIEST,
    beam: Beam | None = None,
    progress: Progress | None = None,
) -> list[str]:
    """Write a text of each source, those of one length together.

    It ends where a document does, or before the first of the data's ``stops`` in it.

    Args:
        fitted: the model, beside data that says what is asked.
        sources: that are read, a text each; an empty one gives its text too.
        length: tokens of a text, at most.
        rows: texts that are written at once.
        sampling: how a token is drawn; the likeliest one, if not said.
        beam: a search instead.
        progress: is told how many are written.
    """
    asked, tokenizer = fitted.data.asked, fitted.data.tokenizer
    assert asked is not None, "Data that has pairs says what is asked."
    ids = [asked(source, length) for source in sources]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    found = [""] * len(ids)
    for first in range(0, len(order), rows):
        if progress is not None:
            progress("writing", first, len(ids))
        chosen = order[first : first + rows]
        # The last few are filled up: so there is one number of rows.
        filled = [ids[i] for i in (chosen * rows)[:rows]]
        # Rows of two batches are drawn by other keys.
        seed = (fitted.seed + first) % 2**32
        new = fitted.generate(filled, length, sampling, seed, beam, to_end=True)
        for i, tokens in zip(chosen, new, strict=False):
            text = written(tokenizer, tokens)
            found[i] = text[: first_stop(text, fitted.data.stops)]
    return found
