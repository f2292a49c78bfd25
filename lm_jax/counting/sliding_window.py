"""The sliding-window baseline for questions on passages (Rajpurkar et al. 2016, 4.1).

Of all candidates it keeps those whose sentence, without them, has most of the words
and pairs of words of the question; of these it takes the one whose words and the
question's weigh most in one window of the passage (Richardson et al. 2013, algorithm
1). The paper's candidates are the constituents of a parser. Here they are the longest
runs of words within a sentence that have no mark, none of the most frequent words and
no word of the question.
"""

from collections import Counter
from itertools import groupby, pairwise

import numpy as np
from jaxtyping import Int64

from lm_jax.data.pieces import Cut
from lm_jax.data.questions import Questions

_ENDS = frozenset(".!?。！？")


def common_words(questions: Questions, count: int) -> frozenset[int]:
    """Give the most frequent words of the passages: no answer is looked for in them."""
    found: Counter[int] = Counter()
    for cut in questions.cuts:
        found.update(cut.words.tolist())
    return frozenset(word for word, _ in found.most_common(count))


def window_answers(questions: Questions, common: frozenset[int]) -> list[str]:
    """Answer each question by the baseline; "" where there is no candidate."""
    answers = []
    for (passage, _), question in zip(questions.asked, questions.short, strict=True):
        text, cut = questions.passages[passage].text, questions.cuts[passage]
        found = best_candidate(text, cut, question.words, common)
        answers.append(text[slice(*found)] if found else "")
    return answers


def best_candidate(
    text: str, cut: Cut, question: Int64[np.ndarray, " pieces"], common: frozenset[int]
) -> tuple[int, int] | None:
    """Give the characters of the best candidate; None where there is none.

    Args:
        text: the passage.
        cut: its pieces.
        question: words of the question.
        common: words that no candidate has.
    """
    asked = set(question.tolist())
    singles_and_pairs = {*asked, *pairwise(question.tolist())}
    found = []
    for sentence in _sentences(text, cut):
        words = cut.words[sentence].tolist()
        for first, last in _runs(text, cut, sentence, common | asked):
            rest = words[: first - sentence.start], words[last - sentence.start :]
            near = {each for part in rest for each in (*part, *pairwise(part))}
            found.append((len(near & singles_and_pairs), first, last))
    if not found:
        return None
    most = max(found)[0]
    kept = [(first, last) for overlap, first, last in found if overlap == most]
    first, last = max(kept, key=lambda ends: _weight(cut, asked, *ends))
    return int(cut.spans[first, 0]), int(cut.spans[last - 1, 1])


def _sentences(text: str, cut: Cut) -> list[slice]:
    """Give the pieces of each sentence."""
    ends = [k + 1 for k, (a, b) in enumerate(cut.spans.tolist()) if text[a:b] in _ENDS]
    return [slice(*ends) for ends in pairwise((0, *ends, len(cut.spans)))]


def _runs(
    text: str, cut: Cut, sentence: slice, without: frozenset[int]
) -> list[tuple[int, int]]:
    """Give the first piece of each candidate, and the one after its last."""

    def able(piece: int) -> bool:
        mark = not text[cut.spans[piece, 0]].isalnum()
        return not mark and int(cut.words[piece]) not in without

    pieces = range(sentence.start, sentence.stop)
    runs = [list(run) for yes, run in groupby(pieces, able) if yes]
    return [(run[0], run[-1] + 1) for run in runs]


def _weight(cut: Cut, asked: set[int], first: int, last: int) -> float:
    """Weigh the words of the question and of a candidate in the best window.

    A word weighs log(1 + 1 / its number in the passage).
    """
    wanted = asked | set(cut.words[first:last].tolist())
    words, place, counts = np.unique(cut.words, return_inverse=True, return_counts=True)
    weighs = np.where(np.isin(words, list(wanted)), np.log1p(1 / counts), 0.0)[place]
    sums = np.concatenate([[0.0], np.cumsum(weighs)])
    size = min(len(wanted), len(weighs))
    return float((sums[size:] - sums[:-size]).max())
