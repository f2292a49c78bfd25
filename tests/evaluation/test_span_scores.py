"""A question has one prediction, of all of its windows; nothing at a threshold."""

import numpy as np
import pytest

from lm_jax.counting.sliding_window import common_words, window_answers
from lm_jax.data.pieces import Cutter, spaced
from lm_jax.data.questions import ask
from lm_jax.evaluation.answers import agreement
from lm_jax.evaluation.span_scores import (
    Told,
    best_threshold,
    over_windows,
    scored,
)
from lm_jax.text.squad import Answer, Passage, Question
from lm_jax.tokenizers import Words

TEXT = "aa bb cc dd ee ff gg hh"


def questions_of(*passages):
    texts = [t for p in passages for t in (p.text, *(q.text for q in p.questions))]
    words = Words(lowercase=True).train(map(spaced, texts), end=True)
    # Three tokens before the passage, and room for four of it.
    return ask(passages, Cutter(words), (words.end_id, words.end_id), 7, 1, 2)


def test_the_best_span_of_all_windows_answers_and_the_least_none_does_not():
    found = questions_of(
        Passage("a", TEXT, (Question("q", "x", (Answer(0, "aa"),)),)),
        Passage("b", "aa", (Question("r", "x", ()), Question("s", "x", ()))),
    )
    np.testing.assert_array_equal(found.question_of, [0, 0, 0, 1, 2])
    rows = np.array(
        [
            [-1.0, -3.0, 3, 4],
            [-2.5, -2.0, 3, 5],  # tokens 2 to 4 of the passage
            [-2.0, -4.0, 6, 6],
            [-0.1, -9.0, 3, 3],
            [-0.2, -np.inf, 0, 0],  # no span could be told
        ]
    )
    told = over_windows(found, rows)
    assert told.texts == ["cc dd ee", "aa", ""]
    np.testing.assert_allclose(told.none, [-0.5, 8.9, np.inf])


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_is_better_than_the_best(seed):
    random = np.random.default_rng(seed)
    asked = [
        Question(str(k), "x", (Answer(0, "aa"),) if random.random() < 0.5 else ())
        for k in range(12)
    ]
    found = questions_of(Passage("a", "aa bb", tuple(asked)))
    texts = random.choice(["aa", "bb", "aa bb"], 12).tolist()
    told = Told(texts, random.integers(0, 6, 12).astype(float))

    def f1(threshold):
        said = ["" if n > threshold else t for t, n in zip(*told, strict=True)]
        return scored(found, said, "squad").scores["f1"]

    best = best_threshold(found, told, "squad")
    every = [f1(threshold) for threshold in np.arange(-1, 7, 0.5)]
    assert np.isfinite(best) and f1(best) == pytest.approx(max(every))
    assert min(every) < max(every)


def test_scores_are_means_over_questions_and_lines_say_each():
    asked = (
        Question("q", "x", (Answer(0, "aa"), Answer(0, "aa bb"))),
        Question("r", "x", ()),
    )
    found = questions_of(Passage("A", TEXT, asked))
    made = scored(found, ["bb", ""], "squad")
    half = agreement("bb", ["aa", "aa bb"], "squad", True).f1
    assert half == pytest.approx(2 / 3)
    assert made.scores == pytest.approx(
        {
            "exact": 0.5,
            "f1": (half + 1) / 2,
            "answered_f1": half,
            "unanswerable_f1": 1.0,
        }
    )
    assert [line["id"] for line in made.lines] == ["q", "r"]
    assert made.lines[0]["answers"] == ["aa", "aa bb"]
    assert [line["prediction"] for line in made.lines] == ["bb", ""]


def test_the_sliding_window_takes_what_stands_near_the_words_of_the_question():
    text = (
        "The old mill was built by John Smith in the north. The new bridge was "
        "opened by Mary Jones in the south."
    )
    asked = (
        Question("q", "Who opened the new bridge?", (Answer(83, "Mary Jones"),)),
        Question("r", "Who built the old mill?", (Answer(26, "John Smith"),)),
    )
    found = questions_of(Passage("A", text, asked))
    common = common_words(found, 4)
    assert window_answers(found, common) == ["Mary Jones", "John Smith"]
    # Without a candidate there is no answer.
    every = common_words(found, 100)
    assert window_answers(found, every) == ["", ""]
