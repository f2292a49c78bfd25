"""Passages are found before they are read; where the right one is, all is as ever."""

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from lm_jax.data import AnswerSpans
from lm_jax.errors import UserError
from lm_jax.evaluation import OpenBook, SpanScores, open_book
from lm_jax.evaluation.fitted import Planned
from lm_jax.evaluation.open_book import found_passages
from lm_jax.evaluation.predictions import gathered
from lm_jax.text import Corpus
from lm_jax.tokenizers import Words
from tests.text.test_squad import article, asked, write_squad

pytest.importorskip("bm25s", reason="needs the extra `retrieval`")


@dataclass(frozen=True)
class Reader:
    """Tells numbers of each row that depend on its tokens and on nothing else."""

    data: Any
    step = 1
    policy, writes, seed = "", False, 0
    score = items = generate = staticmethod(print)
    score_with_cache = vectors = rankings = staticmethod(print)

    def predictions(self, split, progress=None):
        windows, parts = self.data.evaluation(split, 2), []
        for k in range(len(windows)):
            numbers, batch = windows.numbers(k), windows[k]
            kept = [batch[name][: len(numbers)] for name in ("inputs", "segments")]
            rows = np.array([*map(self.row, *kept)])
            parts.append((numbers, batch["start"][: len(numbers)], rows))
        return gathered(iter(parts), ())

    def row(self, inputs, segments):
        """No answer, the best span, and its ends."""
        passage = np.flatnonzero(segments == 2)
        total = int(inputs[segments > 0].sum())
        start = passage[total % len(passage)]
        return -float(total % 5), -float(total % 7), start, min(start + 1, passage[-1])


def prepared(tmp_path, ask=lambda k: f"What of ONLY{k}?", lack=True):
    """A passage and three questions an article, one without an answer if so told."""
    rows = []
    for k in range(12):
        words = " ".join(f"w{(k + j) % 20}" for j in range(20))
        text = f"{words} only{k} is here."
        place = text.index(f"only{k}")
        whole = asked(f"q{k}", (f"only{k}", place), (f"only{k} is", place))
        none = asked(
            f"n{k}", *([] if lack else [("here", text.index("here"))]), impossible=lack
        )
        either = asked(f"r{k}", ("here", text.index("here")))
        rows.append(
            article(
                f"Title {k}",
                whole | {"question": ask(k)},
                either | {"question": f"So? {ask(k)}"},
                none | {"question": f"No? {ask(k)}"},
                text=text,
            )
        )
    path = write_squad(tmp_path / "a.json", *rows)
    data = AnswerSpans(Corpus(str(path)), Words(), (16, 24), stride=8, question=8)
    return data.prepare(tmp_path / "cache")


def test_where_its_own_passage_is_found_a_question_is_answered_as_ever(tmp_path):
    reader = Reader(prepared(tmp_path))
    for split in ("validation", "test"):
        open_, closed = (
            kind.run(reader, split) for kind in (OpenBook(passages=1), SpanScores())
        )
        assert open_.scores == closed.scores | {"recall@1": 1.0}
        assert "threshold" in closed.scores and len(closed.lines) in (3, 9)
        assert open_.lines == tuple({**line, "found": True} for line in closed.lines)


def test_the_best_span_of_all_that_were_found_answers(tmp_path):
    reader = Reader(prepared(tmp_path, lack=False))
    found = OpenBook(passages=50).run(reader, "test")
    assert found.scores["recall@50"] == 1
    questions = reader.data.questions["test"]
    best = []
    for place in range(3):
        read = questions.beside([[place]] * 9)
        rows = Reader(open_book._read(reader.data, read)).predictions("test").found
        for number, (_, span, start, end) in enumerate(rows):
            text = read.text(number, int(start), int(end))
            best.append((read.windows[number].question, span, text))
    for number, line in enumerate(found.lines):
        own = [(span, text) for question, span, text in best if question == number]
        texts = {text for span, text in own if span == max(own)[0]}
        assert line["prediction"] in texts


def test_recall_counts_the_passages_that_were_asked_about(tmp_path):
    data = prepared(tmp_path, lambda k: f"only{k + 1} w1")
    questions = data.questions["train"]
    places = found_passages(questions, 3)
    number = {p.text.split()[20]: k for k, p in enumerate(questions.passages)}
    for (passage, _), found in zip(questions.asked, places, strict=True):
        own = int(questions.passages[passage].text.split()[20].removeprefix("only"))
        wanted = number.get(f"only{own + 1}")
        assert wanted is None or found[0] == wanted
    found = OpenBook(passages=3).run(Reader(data), "train")
    right = (places == [[p] for p, _ in questions.asked]).any(1)
    assert found.scores["recall@3"] == right.mean() < 1
    assert found.scores["recall@1"] < found.scores["recall@3"]
    assert [line["found"] for line in found.lines] == right.tolist()


def test_blocks_of_questions_and_capitals_change_nothing(tmp_path, monkeypatch):
    questions = prepared(tmp_path).questions["train"]
    whole = found_passages(questions, 4)
    assert (whole[:, 0] == [passage for passage, _ in questions.asked]).all()
    assert whole.shape == (len(questions.asked), 4)
    monkeypatch.setattr(open_book, "_BLOCK", 5)
    np.testing.assert_array_equal(found_passages(questions, 4), whole)


def test_other_passages_say_nothing_of_an_answer(tmp_path):
    questions = prepared(tmp_path).questions["train"]
    read = questions.beside([[0, 1]] * len(questions.asked))
    assert {(w.question, w.passage) for w in read.windows} == {
        (q, p) for q in range(len(questions.asked)) for p in (0, 1)
    }
    for number in range(len(read.windows)):
        row = read.row(number, 24)
        assert (row["mask"], row["start"], row["end"]) == (0, 0, 0)


def test_what_is_missing_is_said_before_anything_is_trained(monkeypatch):
    planned = Planned(lambda: (), None, None)
    (said,) = OpenBook().unfit(planned)
    assert "AnswerSpans" in said
    assert not list(OpenBook().unfit(planned._replace(tells="start")))
    monkeypatch.setitem(sys.modules, "bm25s", None)
    (said,) = OpenBook().unfit(planned._replace(tells="start"))
    assert "LM_JAX_EXTRAS=retrieval" in said
    with pytest.raises(UserError, match=r"evaluation\.passages"):
        OpenBook(passages=0)
