"""How varied the answers are that a model writes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from lm_jax.bounds import SIZES, check, within
from lm_jax.evaluation.fitted import Fitted, Found, Planned, Progress
from lm_jax.evaluation.words import words_of
from lm_jax.evaluation.writing import no_pairs, pairs_of, write_texts
from lm_jax.generation import Sampling


@dataclass(frozen=True)
class Distinct:
    """Distinct-1 and -2 of written answers (Li et al. 2016, 5.2).

    How many different words, and pairs of words that follow each other, the answers
    have together, for each of their words as `words_of` has them. The more answers,
    the smaller both are; so what people answered there stands beside.

    Attributes:
        answers: that are written, evenly out of the split; all where it has fewer.
        sampling: how each token is drawn.
        length: tokens of an answer, at most.
        rows: answers that are written at once.
        every: how often; None is whenever the watched evaluation is made.
    """

    answers: int = within(SIZES, 200)
    sampling: Sampling = Sampling(temperature=0.8)
    length: int = within(SIZES, 40)
    rows: int = within(SIZES, 32)
    every: str | None = None

    watched: ClassVar[str] = "distinct_2"
    larger_is_better: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse numbers outside their interval, and a sampling that can't be."""
        check(self, "evaluation")
        self.sampling.check(2**31 - 1)  # whatever the vocabulary

    def run(
        self, fitted: Fitted, split: str, progress: Progress | None = None
    ) -> Found:
        """Write answers, and count.

        Raises:
            UserError: when nothing is asked.
        """
        pairs = list(pairs_of(fitted, split, "Distinct"))
        count = min(self.answers, len(pairs))
        chosen = [pairs[k * len(pairs) // count] for k in range(count)]
        sources, given = zip(*chosen, strict=True)
        texts = write_texts(
            *(fitted, sources, self.length, self.rows),
            sampling=self.sampling,
            progress=progress,
        )
        scores = {"answers": float(count)}
        for prefix, said in (("", texts), ("people_", given)):
            scores |= {f"{prefix}distinct_{n}": distinct(said, n) for n in (1, 2)}
        rows = list(zip(sources, texts, given, strict=True))
        shown = [f"{s}\n-> {text}\n   ({people})" for s, text, people in rows[:3]]
        names = ("source", "prediction", "target")
        lines = [dict(zip(names, map(str, row), strict=True)) for row in rows]
        return Found(scores, tuple(shown), lines=tuple(lines))

    def unfit(self, planned: Planned) -> Iterator[str]:
        """Say why it can't be made."""
        if not planned.pairs:
            yield no_pairs("Distinct")


def distinct(texts: Sequence[str], n: int) -> float:
    """Give the different n-grams of all texts for each of their words; 0 without any.

    Args:
        texts: n-grams lie within one.
        n: words of an n-gram.
    """
    found, total = set[tuple[str, ...]](), 0
    for text in texts:
        words = words_of(text)
        total += len(words)
        found.update(zip(*(words[k:] for k in range(n)), strict=False))
    return len(found) / total if total else 0.0
