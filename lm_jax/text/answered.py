"""Pairs of texts: of a corpus that has them, or of questions and their answers."""

import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from lm_jax.text.corpora import find
from lm_jax.text.corpus import Corpus
from lm_jax.text.folders import files_of
from lm_jax.text.found import Text
from lm_jax.text.known import KNOWN
from lm_jax.text.opening import suffix
from lm_jax.text.pieces import Columns
from lm_jax.text.questions import Asked, find_questions
from lm_jax.text.reading import blocks
from lm_jax.text.splitting import Piece
from lm_jax.text.squad import QUESTIONS, Question
from lm_jax.text.stores import where

# How a file of SQuAD's form begins, and a table of JSON doesn't.
_BEGINS = re.compile(r'\s*\{\s*"(data|version)"\s*:')


def find_pairs(
    corpus: Corpus,
    others: tuple[str, ...],
    cache: Path,
    question_last: bool = False,
    turned: bool = False,
) -> Text:
    """Find a corpus of pairs; of questions, those of question and answer.

    The first text of such a pair is a question and, on another line, its passage; the
    second is an answer. Each answer that differs has a pair, and a question that has
    none is answered by "". Articles are whole in one split, as `find_questions` has
    them without a fold.

    Args:
        corpus: which; questions have a known name, or are files in SQuAD's form.
        others: columns of a table beside the corpus' own; none where it is pairs.
        cache: folder of what was read before.
        question_last: whether the passage is read before the question.
        turned: whether the second text of a pair is read.

    Returns:
        A text whose rows are not two together where there are no pairs.

    Raises:
        UserError: as `find` and `find_questions`.
    """
    if others or not _has_questions(corpus, cache):
        return find(corpus, cache, Columns(others=others, source=int(turned)))
    asked = find_questions(corpus, None, 0, cache)

    def pieces() -> Iterator[Piece]:
        for split, source, answer in _pairs(asked, question_last):
            yield Piece(split, source, True)
            yield Piece(split, answer, True)

    order = "passage and question" if question_last else "question and passage"
    answers = [answer for _, _, answer in _pairs(asked, question_last)]
    return Text(
        sha256(f"{order}\n{asked.digest}".encode()).hexdigest(),
        f"{asked.statement}\n{len(answers):,} pairs of {order} with an answer.",
        True,
        sum(len(piece.text.encode()) for piece in pieces()),
        pieces,
        lambda: iter(()),
        together=2,
        may_lack="" in answers,
    )


def _has_questions(corpus: Corpus, cache: Path) -> bool:
    """Say whether a corpus is questions on passages."""
    if known := KNOWN.get(corpus.source):
        return known.form in QUESTIONS
    path = where(corpus.source, cache)
    if not path.exists():
        return False
    first = files_of(path, cache).paths[0]
    return suffix(first) == ".json" and bool(_BEGINS.match(next(blocks(first), "")))


def _pairs(asked: Asked, question_last: bool) -> Iterator[tuple[str, str, str]]:
    """Give the split, the source and the answer of each pair."""
    for split, passages in asked.splits.items():
        for passage in passages:
            for question in passage.questions:
                both = question.text, passage.text
                source = "\n".join(both[::-1] if question_last else both)
                for answer in _answers(question):
                    yield split, source, answer


def _answers(question: Question) -> list[str]:
    """Give what people answered, each answer once; "" where there is none."""
    return list(dict.fromkeys(answer.text for answer in question.answers)) or [""]
