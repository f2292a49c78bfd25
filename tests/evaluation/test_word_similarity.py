"""Scores are gensim's, and say what they leave out."""

import gzip

import numpy as np
import pytest

from lm_jax.errors import UserError
from lm_jax.evaluation.word_similarity import (
    Pair,
    Question,
    analogies,
    lookup,
    read_pairs,
    read_questions,
    similarity,
    word_scores,
)

WORDS = [f"{letter}{i}" for i in range(12) for letter in "abcde"]
# Other spellings of words that came before.
CASED = [*WORDS, "A0", "B1", "C2"]


def vectors_of(words):
    """A vector of the letter plus one of the number plus noise: a0 : a1 = b0 : b1."""
    rng = np.random.default_rng(0)
    parts = {part: rng.normal(size=6) for part in sorted(set("".join(words).lower()))}
    noise = rng.normal(size=(len(words), 6))
    sums = [parts[w[0].lower()] + parts[w[1]] + parts[w[-1]] for w in words]
    return (np.array(sums) + 0.3 * noise).astype("f4")


def write_files(folder, words, seed=1):
    """Pairs and questions, some with words that have no vectors."""
    rng = np.random.default_rng(seed)
    names = [*words, "unknown"]
    pairs = [f"{a}\t{b}\t{rng.random():.2f}\n" for a, b in rng.choice(names, (80, 2))]
    (folder / "EN-WS-353-ALL.txt").write_text("".join(pairs), newline="\r\n")
    lines = [" ".join(row) + "\n" for row in rng.choice(names, (100, 4))]
    for _ in range(300):
        (a, b), (i, j) = rng.choice([*"abcde"], 2, False), rng.choice(12, 2, False)
        lines.append(f"{a}{i} {a}{j} {b}{i} {b}{j}\n")
    rng.shuffle(lines)
    questions = [": first\n", *lines[:150], ": second one\n", *lines[150:]]
    with gzip.open(folder / "questions-words.txt.gz", "wt") as file:
        file.writelines(questions)


@pytest.mark.parametrize("words", [WORDS, CASED])
@pytest.mark.parametrize("restrict_vocab", [300_000, 30])
def test_scores_equal_gensims(tmp_path, words, restrict_vocab):
    keyed = pytest.importorskip("gensim.models").KeyedVectors
    write_files(tmp_path, words)
    vectors = vectors_of(words)
    scores = word_scores(words, vectors, tmp_path, restrict_vocab)
    theirs = keyed(6)
    theirs.add_vectors(words, vectors)
    _, spearman, oov = theirs.evaluate_word_pairs(tmp_path / "EN-WS-353-ALL.txt")
    assert scores["wordsim353/spearman"] == pytest.approx(spearman[0], abs=1e-6)
    assert scores["wordsim353/covered"] == pytest.approx(1 - oov / 100)
    accuracy, sections = theirs.evaluate_word_analogies(
        str(tmp_path / "questions-words.txt.gz"), restrict_vocab
    )
    assert 0.1 < accuracy < 0.9
    assert scores["google/accuracy"] == pytest.approx(accuracy)
    for section in sections[:2]:
        right, asked = (
            len(section["correct"]),
            len(section["correct"] + section["incorrect"]),
        )
        name = f"google/accuracy/{section['section']}"
        assert scores[name] == pytest.approx(right / asked)
    answered = len(sections[-1]["correct"] + sections[-1]["incorrect"])
    assert scores["google/covered"] == pytest.approx(answered / 400)


def test_vectors_that_add_up_answer_everything():
    rng = np.random.default_rng(0)
    nouns, plural = rng.normal(size=(20, 30)), rng.normal(size=30)
    words = [f"{n}{s}" for n in "abcdefghijklmnopqrst" for s in ("", "s")]
    vectors = np.stack([nouns, nouns + plural], 1).reshape(40, 30).astype("f4")
    asked = [
        Question("plural", (a, f"{a}s", b, f"{b}s"))
        for a in "abcdefg"
        for b in "hijklmn"
    ]
    scores = analogies(lookup(words, vectors), asked)
    assert scores["accuracy"] > 0.9
    assert scores["accuracy/plural"] == scores["accuracy"]


def test_the_words_of_a_question_are_no_answers():
    words = ["a", "b", "c", "d"]
    vectors = np.array([[1, 0.1], [1, 0], [0.9, 0.1], [0, 1]], "f4")
    found = analogies(lookup(words, vectors), [Question("s", ("a", "b", "c", "d"))])
    assert found["accuracy"] == 1.0


def test_the_order_of_ratings_counts_and_not_their_size():
    found = lookup(["a", "b", "c"], np.array([[1, 0], [1, 0.1], [0, 1]], "f4"))
    pairs = [Pair(("a", "b"), 9.0), Pair(("a", "c"), 0.1), Pair(("B", "C"), 5.0)]
    assert similarity(found, pairs) == {"covered": 1.0, "spearman": 1.0}
    half = [*pairs, *[Pair(("a", "nothing"), 3.0)] * 3]
    assert similarity(found, half) == {"covered": 0.5, "spearman": 1.0}


def test_what_has_no_vector_has_no_score():
    found = lookup(["猫"], np.ones((1, 2), "f4"))
    assert similarity(found, [Pair(("a", "b"), 1.0)]) == {"covered": 0.0}
    assert analogies(found, [Question("s", ("a", "b", "c", "d"))]) == {"covered": 0.0}


def test_files_that_are_damaged_or_missing(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a\tb\t1.0\na b 2\n")
    with pytest.raises(UserError, match="line 2: 'a b 2' is no word, word and rating"):
        read_pairs(path)
    path.write_text(": s\na b c d\na b c\n")
    with pytest.raises(UserError, match="line 3: 'a b c' is no four words"):
        read_questions(path)
    path.write_text("a b c d\n")
    with pytest.raises(UserError, match="line 1"):
        read_questions(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_pairs(tmp_path / "nothing.txt")
    with pytest.raises(UserError, match="has none of the files EN-WS-353-ALL.txt"):
        word_scores(["a"], np.ones((1, 2), "f4"), tmp_path)
