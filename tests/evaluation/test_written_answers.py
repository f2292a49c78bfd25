"""What is written is scored as a span of the same letters is, of all answers."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.data.pieces import Cutter
from lm_jax.data.questions import ask
from lm_jax.errors import UserError
from lm_jax.evaluation import WrittenAnswers
from lm_jax.evaluation.fitted import Planned
from lm_jax.evaluation.span_scores import scored
from lm_jax.text.squad import Answer, Passage, Question
from lm_jax.tokenizers import Characters
from tests.properties import quick

TEXT = "The cat sat on 12 mats, 北京市"
TOKENIZER = Characters().train([TEXT + "?0123456789\n"], end=True)
WRITTEN = st.lists(st.sampled_from(["The", "cat", "12 mats,", "北京", "a"]), max_size=3)
GIVEN = st.lists(st.sampled_from(["cat", "The cat", "mats", "北京市"]), max_size=3)


class Writer:
    """Writes what it was told of each source, whatever is written beside it."""

    step, policy, writes, seed = 1, "", True, 0
    score = items = predictions = staticmethod(print)
    score_with_cache = vectors = rankings = staticmethod(print)

    def __init__(self, pairs, texts):
        self.asked_of, self.texts = [], texts
        self.data = SimpleNamespace(
            tokenizer=TOKENIZER,
            stops=(),
            asked=lambda source, length: TOKENIZER.encode(source),
            pairs=pairs and (lambda split: iter(pairs)),
        )

    def generate(self, prompts, length, sampling, seed, beam, to_end):
        sources = [TOKENIZER.decode(prompt) for prompt in prompts]
        self.asked_of += sources
        return [TOKENIZER.encode(self.texts[source]) for source in sources]


@quick
@given(st.lists(st.tuples(WRITTEN, GIVEN), min_size=1, max_size=5))
def test_scores_are_those_of_spans_with_the_same_letters(rows):
    for script in ("squad", "cmrc"):
        texts = [" ".join(words) for words, _ in rows]
        questions = tuple(
            Question(str(k), f"{k}?", tuple(Answer(0, text) for text in answers))
            for k, (_, answers) in enumerate(rows)
        )
        spans = ask(
            [Passage("", TEXT, questions)],
            Cutter(TOKENIZER),
            (TOKENIZER.end_id, TOKENIZER.end_id),
            64,
            9,
            9,
        )
        pairs = [
            (question.text, text)
            for question in questions
            for text in [a.text for a in question.answers] or [""]
        ]
        sources = [question.text for question in questions]
        writer = Writer(pairs, dict(zip(sources, texts, strict=True)))
        found = WrittenAnswers(script, rows=2).run(writer, "test")
        wanted = scored(spans, texts, script)
        assert found.scores == pytest.approx(wanted.scores)
        for ours, theirs in zip(found.lines, wanted.lines, strict=True):
            assert ours["prediction"] == theirs["prediction"]
            assert (ours["exact"], ours["f1"]) == (theirs["exact"], theirs["f1"])
        assert {*writer.asked_of} == {*sources}


def test_a_question_is_shown_with_all_answers():
    pairs = [("0?", "cat"), ("1?", ""), ("0?", "The cat sat")]
    found = WrittenAnswers().run(
        Writer(pairs, {"0?": "cat sat", "1?": "a cat"}), "test"
    )
    assert found.scores == {
        "exact": 0.5,
        "f1": 0.5,
        "answered_f1": 1.0,
        "unanswerable_f1": 0.0,
    }
    assert found.texts == (
        "0?\n-> cat sat\n   (cat / The cat sat)",
        "1?\n-> a cat\n   ()",
    )
    assert [line["answers"] for line in found.lines] == [["cat", "The cat sat"], [""]]


def test_without_pairs_there_is_nothing_to_compare():
    planned = Planned(lambda: (), None, None)
    assert "TextPairs" in next(WrittenAnswers().unfit(planned))
    assert not list(WrittenAnswers().unfit(planned._replace(pairs=True)))
    with pytest.raises(UserError, match="TextPairs"):
        WrittenAnswers().run(Writer(None, {}), "test")
    with pytest.raises(UserError, match=r"evaluation\.length"):
        WrittenAnswers(length=0)
