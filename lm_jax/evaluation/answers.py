"""How well an answer agrees with those that people gave, by the official rules."""

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

Script = Literal["squad", "cmrc"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
# What CMRC's script takes out. Other marks of ASCII stay, and so does each half of the
# six dots: it looks for both at once, in one character.
_CHINESE_MARKS = str.maketrans(
    "", "", "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』"
)
# A Chinese character is a word; other writing is cut at white space and marks, but
# not within a number.
_SEGMENT = re.compile(
    r"[\u4e00-\u9fa5]|(?:(?:\.|,(?=\d))?(?![\u4e00-\u9fa5])[\w…])+|[^\w\s]"
)


class Agreement(NamedTuple):
    """How well one answer agrees with the best of those that were given."""

    exact: float
    f1: float


def agreement(
    found: str, given: Sequence[str], script: Script, may_lack: bool
) -> Agreement:
    """Compare an answer with those that were given.

    Args:
        found: the answer; "" where there is said to be none.
        given: answers of people; none where the passage has none.
        script: whose rules: SQuAD's for English, CMRC 2018's for Chinese.
        may_lack: whether questions of the split may have no answer: then the rules
            are those of SQuAD 2.0, else of 1.1.
    """
    if may_lack and script == "squad":
        given = [answer for answer in given if normalised(answer)]
    given = given or [""]
    if script == "cmrc":
        plain = _without_marks(found)
        exact = any(_without_marks(answer) == plain for answer in given)
        return Agreement(float(exact), max(common_run(found, a) for a in given))
    exact = any(normalised(answer) == normalised(found) for answer in given)
    f1 = max(word_f1(found, answer, may_lack) for answer in given)
    return Agreement(float(exact), f1)


def mean_scores(each: Sequence[Agreement], lacks: Sequence[bool]) -> dict[str, float]:
    """Give the means over questions; of those that lack an answer too, if any does.

    Args:
        each: how well each question is answered.
        lacks: whether it has no answer.
    """
    (exact, f1), none = np.array(each).T, np.array(lacks)
    scores = {"exact": float(exact.mean()), "f1": float(f1.mean())}
    if none.any():
        for name, which in (("answered", ~none), ("unanswerable", none)):
            if which.any():
                scores[f"{name}_f1"] = float(f1[which].mean())
    return scores


def normalised(answer: str) -> str:
    """Write an English answer in small letters, without marks and articles."""
    plain = answer.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", plain).split())


def word_f1(found: str, given: str, may_lack: bool) -> float:
    """Give the F1 of the words of an answer (Rajpurkar et al. 2016, 6.1).

    Args:
        found, given: the two.
        may_lack: whether two answers without a word agree (SQuAD 2.0); in 1.1 they
            have no word in common.
    """
    ours, theirs = normalised(found).split(), normalised(given).split()
    if may_lack and not (ours and theirs):
        return float(ours == theirs)
    return _f1((Counter(ours) & Counter(theirs)).total(), len(ours), len(theirs))


def common_run(found: str, given: str) -> float:
    """Give the F1 of the longest run of characters that both have (Cui et al. 2019).

    Chinese characters count one each, and so do words of other writing; the script
    takes NLTK's words for these.
    """
    ours, theirs = (_SEGMENT.findall(_without_marks(text)) for text in (found, given))
    best, before = 0, [0] * (len(theirs) + 1)
    for mine in ours:
        row = [0]
        for length, other in zip(before, theirs, strict=False):
            row.append(length + 1 if mine == other else 0)
        best, before = max(best, *row), row
    return _f1(best, len(ours), len(theirs))


def _without_marks(answer: str) -> str:
    return answer.lower().strip().translate(_CHINESE_MARKS)


def _f1(common: int, found: int, given: int) -> float:
    return 2 * common / (found + given) if common else 0.0
