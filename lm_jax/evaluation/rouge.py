"""How much of what people wrote as a summary is in one that is written (ROUGE)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from lm_jax.bounds import SIZES, check, within
from lm_jax.errors import UserError
from lm_jax.evaluation.fitted import Fitted, Found, Planned, Progress
from lm_jax.evaluation.words import words_of
from lm_jax.evaluation.writing import Writes, by_source, no_pairs, pairs_of
from lm_jax.platform import from_extra

MEASURES = ("rouge1", "rouge2", "rougeL", "rougeLsum")


@dataclass(frozen=True)
class Rouge(Writes):
    """ROUGE-1, 2, L and Lsum of what is written of each document (Lin 2004).

    The F1 of the package rouge-score, between 0 and 1, with words as `words_of` has
    them. Targets of one document are references to one text: each measure is that of
    the reference for which it is largest. Lsum takes lines for sentences. It needs the
    extra `summaries`.

    Attributes:
        stem: whether English words count without their endings (Porter).
    """

    stem: bool = False

    watched: ClassVar[str] = "rougeL"

    def run(
        self, fitted: Fitted, split: str, progress: Progress | None = None
    ) -> Found:
        """Write a text of each document of a split, and compare.

        Raises:
            UserError: when there are no pairs of texts, or rouge-score is missing.
        """
        scorer = _scorer(self.stem)
        sources, references = _references(fitted, split)
        texts = self.texts(fitted, sources, progress)
        return _told(sources, texts, references, scorer)

    def unfit(self, planned: Planned) -> Iterator[str]:
        """Say why it can't be made."""
        yield from _unfit(planned)


@dataclass(frozen=True)
class Lead:
    """The ROUGE of a baseline that learns nothing: the first lines of each document.

    Where a sentence stands on a line of its own, as in the corpus "scitldr", one line
    is "lead-1". It doesn't look at the model. It needs the extra `summaries`.

    Attributes:
        lines: that are taken.
        stem: as of `Rouge`.
        every: how often; None is whenever the watched evaluation is made.
    """

    lines: int = within(SIZES, 1)
    stem: bool = False
    every: str | None = None

    watched: ClassVar[str] = "rougeL"
    larger_is_better: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse a number of lines that is none."""
        check(self, "evaluation")

    def run(
        self, fitted: Fitted, split: str, progress: Progress | None = None
    ) -> Found:
        """Compare the first lines of each document of a split.

        Raises:
            UserError: when there are no pairs of texts, or rouge-score is missing.
        """
        scorer = _scorer(self.stem)
        sources, references = _references(fitted, split)
        texts = ["\n".join(str(s).split("\n")[: self.lines]) for s in sources]
        return _told(sources, texts, references, scorer)

    def unfit(self, planned: Planned) -> Iterator[str]:
        """Say why it can't be made."""
        yield from _unfit(planned)


Scorer = Callable[[Sequence[str], str], dict[str, float]]
"""Of references and a text: the F1 of each measure."""


def _unfit(planned: Planned) -> Iterator[str]:
    if not planned.pairs:
        yield no_pairs("ROUGE")
    try:
        _scorer(False)
    except UserError as error:
        yield str(error)


def _references(fitted: Fitted, split: str) -> tuple[list[Any], list[list[str]]]:
    """Give each document of a split once, and all its targets.

    Raises:
        UserError: there are none, or one has no word: before anything is written.
    """
    sources, references = by_source(pairs_of(fitted, split, "ROUGE"))
    _check(references)
    return sources, references


def _scorer(stem: bool) -> Scorer:
    """Give what compares a text with its references, by rouge-score.

    Raises:
        UserError: it is missing.
    """
    try:
        from nltk.stem.porter import PorterStemmer
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise UserError(
            f"ROUGE needs rouge-score ({error}): {from_extra('summaries')}"
        ) from error
    stemmer = PorterStemmer() if stem else None

    class Tokenizer:
        """What rouge-score asks for words."""

        def tokenize(self, text: str) -> list[str]:
            words = words_of(text)
            if stemmer is None:
                return words
            # As rouge-score does: short words have no ending.
            return [
                stemmer.stem(word) if word.isascii() and len(word) > 3 else word
                for word in words
            ]

    scorer = RougeScorer(MEASURES, tokenizer=Tokenizer())

    def scores(references: Sequence[str], text: str) -> dict[str, float]:
        found = scorer.score_multi(references, text)
        return {name: float(found[name].fmeasure) for name in MEASURES}

    return scores


def rouge(
    texts: Sequence[str], references: Sequence[Sequence[str]], stem: bool = False
) -> list[dict[str, float]]:
    """Give the F1 of each measure for each text.

    Args:
        texts: that were written.
        references: what people wrote, one or more of each.
        stem: as of `Rouge`.

    Raises:
        UserError: they are not as many, a text has no reference or one without a
            word, or rouge-score is missing.
    """
    return _scores(texts, references, _scorer(stem))


def _scores(
    texts: Sequence[str], references: Sequence[Sequence[str]], scorer: Scorer
) -> list[dict[str, float]]:
    if len(texts) != len(references):
        raise UserError(
            f"{len(texts):,} texts can't be compared with the references of "
            f"{len(references):,}: each has its own. The first without its other is "
            f"number {min(len(texts), len(references)) + 1:,}."
        )
    _check(references)
    return [scorer(*both) for both in zip(references, texts, strict=True)]


def _check(references: Sequence[Sequence[str]]) -> None:
    """Refuse what no text can be compared with.

    Raises:
        UserError: a text has no reference, or one without a word; its references are
            one text, of which each character would be one.
    """
    for number, given in enumerate(references, 1):
        if isinstance(given, str):
            raise UserError(
                f"The references of text {number:,} are one text, {given[:40]!r}: give "
                "a list of them for each text, of one too."
            )
        if not given or not all(map(words_of, given)):
            what = "a reference without a word" if given else "no reference"
            raise UserError(
                f"Text {number:,} has {what}: nothing can be compared with it."
            )


def _told(
    sources: Sequence[Any],
    texts: Sequence[str],
    references: Sequence[Sequence[str]],
    scorer: Scorer,
) -> Found:
    """Score texts, and show three."""
    each = _scores(texts, references, scorer)
    means = {name: float(np.mean([s[name] for s in each])) for name in MEASURES}
    words = [len(words_of(text)) for text in texts]
    of_people = [np.mean([len(words_of(r)) for r in given]) for given in references]
    means["length_ratio"] = float(np.sum(words) / np.sum(of_people))
    rows = list(zip(sources, texts, references, each, strict=True))
    shown = [f"{s}\n-> {t}\n   ({' / '.join(given)})" for s, t, given, _ in rows[:3]]
    lines = [
        {"source": str(s), "prediction": text, "references": list(given), **scores}
        for s, text, given, scores in rows
    ]
    return Found(means, tuple(shown), lines=tuple(lines))
