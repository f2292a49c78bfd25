"""How well word vectors agree with people: similarities and analogies."""

import gzip
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float32, Int

from lm_jax.errors import UserError
from lm_jax.evaluation.fitted import Fitted, Found, Planned, Progress

SIMILARITIES = {
    "wordsim353": "EN-WS-353-ALL.txt",
    "simlex999": "EN-SIMLEX-999.txt",
    "men": "EN-MEN-TR-3k.txt",
}
"""Finkelstein et al. 2002; Hill et al. 2015; Bruni et al. 2014."""
ANALOGIES = {
    "google": "questions-words.txt.gz",
    "ca8_morphological": "zh_CA8/morphological.txt.gz",
    "ca8_semantic": "zh_CA8/semantic.txt.gz",
}
"""Mikolov et al. 2013, English; Li et al. 2018, Chinese."""
_BLOCK = 512  # Questions answered at a time: bounds the memory.


class Pair(NamedTuple):
    """Two words and how similar people find them."""

    words: tuple[str, str]
    rating: float


class Question(NamedTuple):
    """a is to b as c is to d, in a named section."""

    section: str
    words: tuple[str, str, str, str]


@dataclass(frozen=True)
class Lookup:
    """Unit vectors by word, ignoring case: the first spelling is the word's own."""

    vectors: Float32[np.ndarray, "rows width"]
    row: dict[str, int]
    word: Int[np.ndarray, " rows"]
    """Row of the first spelling of each row's word."""


def lookup(words: Sequence[str], vectors: Float32[np.ndarray, "rows width"]) -> Lookup:
    """Prepare vectors for scoring.

    Args:
        words: the word of each row, the most frequent first.
        vectors: their vectors; only the directions count.
    """
    row: dict[str, int] = {}
    word = np.array(
        [row.setdefault(w.upper(), i) for i, w in enumerate(words)], np.int64
    )
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.maximum(length, np.finfo(np.float32).tiny)
    return Lookup(unit.astype(np.float32), row, word)


def similarity(found: Lookup, pairs: Sequence[Pair]) -> dict[str, float]:
    """Correlate cosines with people's ratings.

    Returns:
        "covered", the share of the pairs whose words both have a vector; and
        over those, when there are two or more, "spearman".
    """
    from scipy.stats import spearmanr  # A second, which no other command shall wait.

    rows, ratings = [], []
    for (a, b), rating in pairs:
        if a.upper() in found.row and b.upper() in found.row:
            rows.append((found.row[a.upper()], found.row[b.upper()]))
            ratings.append(rating)
    scores = {"covered": len(rows) / max(len(pairs), 1)}
    if len(rows) > 1:
        first, second = np.moveaxis(found.vectors[np.array(rows)], 1, 0)
        cosines = np.einsum("pw,pw->p", first, second)
        scores["spearman"] = float(spearmanr(ratings, cosines).statistic)
    return scores


def analogies(
    found: Lookup, questions: Sequence[Question], restrict_vocab: int = 300_000
) -> dict[str, float]:
    """Answer a : b = c : ? by the word nearest to b - a + c (3CosAdd).

    The three words of the question are no answers. Mikolov et al. 2013,
    "Linguistic Regularities"; Levy and Goldberg 2014, eq. 3.

    Args:
        found: the vectors.
        questions: of any number of sections.
        restrict_vocab: only so many of the first rows are known and answer.

    Returns:
        "covered", the share of the questions whose four words all have a
        vector; and over those, when there are any, "accuracy" of all and
        "accuracy/SECTION" of each section.
    """
    asked, sections = [], []
    for section, words in questions:
        rows = [found.row.get(word.upper(), restrict_vocab) for word in words]
        if max(rows) < restrict_vocab:
            asked.append(rows)
            sections.append(section)
    scores = {"covered": len(asked) / max(len(questions), 1)}
    if asked:
        right = _answered(found, np.array(asked), restrict_vocab)
        scores["accuracy"] = float(right.mean())
        for section in dict.fromkeys(sections):
            chosen = right[np.array(sections) == section]
            scores[f"accuracy/{section}"] = float(chosen.mean())
    return scores


def _answered(found: Lookup, asked: np.ndarray, restrict_vocab: int) -> np.ndarray:
    """Say of each question (questions, 4) whether its answer is right."""
    vectors, word = found.vectors[:restrict_vocab], found.word[:restrict_vocab]
    # Spellings of a word stand together, so that the nearest speaks for it.
    order = np.argsort(word, kind="stable")
    first, starts = np.unique(word[order], return_index=True)
    column = np.searchsorted(first, asked)
    right = []
    for block in range(0, len(asked), _BLOCK):
        a, b, c, d = asked[block : block + _BLOCK].T
        wanted = vectors[b] - vectors[a] + vectors[c]
        cosines = np.maximum.reduceat((wanted @ vectors.T)[:, order], starts, axis=1)
        own = column[block : block + _BLOCK]
        np.put_along_axis(cosines, own[:, :3], -np.inf, axis=1)
        right.append(cosines.argmax(1) == own[:, 3])
    return np.concatenate(right)


def word_scores(
    words: Sequence[str],
    vectors: Float32[np.ndarray, "rows width"],
    folder: Path,
    restrict_vocab: int = 300_000,
) -> dict[str, float]:
    """Give every score that the files of a folder allow.

    Args:
        words: the word of each row, the most frequent first.
        vectors: their vectors.
        folder: of the files named in SIMILARITIES and ANALOGIES; what is not
            there is not scored.
        restrict_vocab: as of `analogies`.

    Returns:
        "wordsim353/spearman", "wordsim353/covered", "google/accuracy",
        "google/accuracy/SECTION" and so on.

    Raises:
        UserError: the folder has none of the files, or one is damaged.
    """
    found = lookup(words, vectors)
    scores: dict[str, float] = {}
    for name, file in SIMILARITIES.items():
        if (folder / file).is_file():
            part = similarity(found, read_pairs(folder / file))
            scores |= {f"{name}/{k}": v for k, v in part.items()}
    for name, file in ANALOGIES.items():
        if (folder / file).is_file():
            part = analogies(found, read_questions(folder / file), restrict_vocab)
            scores |= {f"{name}/{k}": v for k, v in part.items()}
    if not scores:
        files = ", ".join([*SIMILARITIES.values(), *ANALOGIES.values()])
        raise UserError(f"{folder} has none of the files {files}.")
    return scores


@dataclass(frozen=True)
class WordSimilarity:
    """How well a model's word vectors agree with people; see `word_scores`.

    Attributes:
        folder: of the files that words are judged by; "" is $LM_JAX_DATA/wordvectors.
        every: how often; None is whenever the watched evaluation is made.
    """

    folder: str = ""
    every: str | None = None

    watched: ClassVar[str] = "wordsim353/spearman"
    larger_is_better: ClassVar[bool] = True

    def run(
        self, fitted: Fitted, split: str, progress: Progress | None = None
    ) -> Found:
        """Score the vectors; of analogies, all sections together.

        Raises:
            UserError: the model has no vectors, or there is nothing to judge by.
        """
        scores = word_scores(
            *whole_words(*fitted.vectors()), judging_folder(self.folder)
        )
        return Found({k: v for k, v in scores.items() if k.count("/") == 1})

    def unfit(self, planned: Planned) -> Iterator[str]:
        """Say why it can't be made.

        Raises:
            UserError: there is nothing to judge by.
        """
        judging_folder(self.folder)
        if planned.unvectored is not None:
            yield planned.unvectored


def judging_folder(folder: str = "") -> Path:
    """Give the folder of the files that words are judged by.

    Raises:
        UserError: none was named, and $LM_JAX_DATA is not set.
    """
    data = os.environ.get("LM_JAX_DATA")
    if not folder and data is None:
        raise UserError(
            "There is nothing to score word vectors by: set LM_JAX_DATA to a folder "
            "with wordvectors/ in it."
        )
    return Path(folder or f"{data}/wordvectors").expanduser()


def whole_words(
    words: list[str], vectors: Float32[np.ndarray, "rows width"]
) -> tuple[list[str], Float32[np.ndarray, "rows width"]]:
    """Take a token that begins with a space for the word after it.

    They come first: the same letters without the space are part of a word.
    """
    order = sorted(range(len(words)), key=lambda i: not words[i].startswith(" "))
    return [words[i].removeprefix(" ") for i in order], vectors[order]


def read_pairs(path: Path) -> list[Pair]:
    """Read lines of word<TAB>word<TAB>rating.

    Raises:
        UserError: the file is missing, or a line is none of these.
    """
    pairs = []
    for number, line in _lines(path):
        try:
            first, second, rating = line.split("\t")
            pairs.append(Pair((first, second), float(rating)))
        except ValueError as error:
            raise UserError(
                f"{path}, line {number}: {line!r} is no word, word and rating with "
                "tabs between."
            ) from error
    return pairs


def read_questions(path: Path) -> list[Question]:
    """Read lines of four words, in sections that ": NAME" begins.

    Raises:
        UserError: the file is missing, or a line is none of these.
    """
    questions, section = [], ""
    for number, line in _lines(path):
        words = line.split()
        if words[0] == ":":
            section = " ".join(words[1:])
        elif len(words) == 4 and section:
            a, b, c, d = words
            questions.append(Question(section, (a, b, c, d)))
        else:
            raise UserError(
                f"{path}, line {number}: {line!r} is no four words in a section "
                "begun by ': NAME'."
            )
    return questions


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip() and not line.startswith("#"):
                    yield number, line.strip()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from error
