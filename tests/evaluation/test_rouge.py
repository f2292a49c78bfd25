"""ROUGE is rouge-score's of ASCII texts, and knows words of other writing too."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.errors import UserError
from lm_jax.evaluation import Lead, Rouge
from lm_jax.evaluation.fitted import Planned
from lm_jax.evaluation.rouge import MEASURES, rouge
from lm_jax.evaluation.words import words_of
from lm_jax.tokenizers import Words
from tests.properties import quick

scoring = pytest.importorskip(
    "rouge_score.rouge_scorer", reason="needs the extra `summaries`"
)
REFERENCES = [
    ["The cats are sleeping.\nA dog runs", "Two cats slept; it's running_fast."],
    ["no word of it"],
]
TEXTS = ["A dog ran.\nThe cat is sleeping, it's fast", ""]
PIECES = st.sampled_from(
    ["cat", "Cats", "running", " ", "\n", ". ", "_", "'s", "7", ""]
)


def theirs(texts, references, stem):
    scorer = scoring.RougeScorer(MEASURES, use_stemmer=stem)
    found = map(scorer.score_multi, references, texts)
    return [{k: v.fmeasure for k, v in each.items()} for each in found]


@pytest.mark.parametrize("stem", [False, True])
def test_of_ascii_the_numbers_are_rouge_scores(stem):
    ours = rouge(TEXTS, REFERENCES, stem)
    assert ours == theirs(TEXTS, REFERENCES, stem)
    assert 0 < ours[0]["rouge2"] < ours[0]["rougeL"] < ours[0]["rouge1"] < 1
    assert ours[0]["rougeLsum"] > ours[0]["rougeL"]  # the lines are in another order
    assert set(ours[1].values()) == {0}
    assert rouge(TEXTS, REFERENCES, not stem) != ours


@quick
@given(st.lists(PIECES, max_size=12), st.lists(PIECES, max_size=12), st.booleans())
def test_so_they_are_of_any_ascii_text(text, reference, stem):
    both = ["".join(text)], [["word" + "".join(reference), "another cat"]]
    assert rouge(*both, stem) == theirs(*both, stem)


def test_the_best_reference_counts_for_each_measure():
    alone = [rouge(TEXTS[:1], [[r]])[0] for r in REFERENCES[0]]
    (both,) = rouge(TEXTS[:1], REFERENCES[:1])
    assert both == {name: max(each[name] for each in alone) for name in MEASURES}


def test_chinese_is_compared_by_characters_and_accents_are_letters():
    (found,) = rouge(["我喜欢猫。"], [["我喜欢狗！"]])
    assert found["rouge1"] == found["rougeL"] == 0.75
    assert found["rouge2"] == pytest.approx(2 / 3)
    assert rouge(["Cafe\u0301, Straße"], [["café straße"]])[0]["rouge2"] == 1
    # Hindi's signs of vowels combine with the letter before.
    assert words_of("हिन्दी में, GPT-2が") == ["हिन्दी", "में", "gpt", "2", "が"]
    plain = scoring.RougeScorer(["rouge1"]).score("我喜欢猫", "我喜欢猫")
    assert plain["rouge1"].fmeasure == 0  # why there is a tokenizer of ours


@pytest.mark.parametrize(
    ("texts", "references", "said"),
    [
        (TEXTS, REFERENCES[:1], "2 texts .* of 1: .* is number 2"),
        (TEXTS[:1], [[]], "Text 1 has no reference"),
        (TEXTS, [["a"], ["a", " ..."]], "Text 2 has a reference without a word"),
        (TEXTS, [["a"], "ab"], "references of text 2 are one text, 'ab': give a list"),
    ],
)
def test_what_has_no_reference_is_refused(texts, references, said):
    with pytest.raises(UserError, match=said):
        rouge(texts, references)


class Last:
    """Writes the last word of each document."""

    step, policy, writes, seed = 1, "", True, 0
    score = items = predictions = staticmethod(print)
    score_with_cache = vectors = rankings = staticmethod(print)

    def __init__(self, pairs):
        tokenizer = Words().train([f"{s} {t}" for s, t in pairs], end=True)
        self.data = SimpleNamespace(
            tokenizer=tokenizer,
            stops=(),
            asked=lambda source, length: tokenizer.encode(source),
            pairs=lambda split: iter(pairs) if split == "test" else None,
        )

    def generate(self, prompts, length, sampling, seed, beam, to_end):
        return [p[-1:] for p in prompts]


DOCUMENTS = ("one two\nthree four", "five six seven\neight")
PAIRS = [
    (DOCUMENTS[0], "two one"),
    (DOCUMENTS[0], "three four"),
    (DOCUMENTS[1], "seven eight"),
]


def test_a_document_is_written_of_once_and_compared_with_all_its_targets():
    found = Rouge().run(Last(PAIRS), "test")
    both = rouge(["four", "eight"], [["two one", "three four"], ["seven eight"]])
    for name in MEASURES:
        assert found.scores[name] == np.mean([each[name] for each in both])
    assert found.scores["rouge1"] == pytest.approx(2 / 3)
    assert found.scores["length_ratio"] == 0.5
    assert [line["prediction"] for line in found.lines] == ["four", "eight"]
    assert found.lines[0]["references"] == ["two one", "three four"]
    assert found.lines[0]["rouge1"] == both[0]["rouge1"]
    assert found.texts[1] == "five six seven\neight\n-> eight\n   (seven eight)"


def test_a_reference_without_a_word_is_refused_before_anything_is_written(monkeypatch):
    monkeypatch.setattr(Last, "generate", lambda *_: pytest.fail("It wrote."))
    with pytest.raises(UserError, match="Text 2 has a reference without a word"):
        Rouge().run(Last([*PAIRS, (DOCUMENTS[1], "...")]), "test")


def test_the_first_lines_are_compared_whatever_the_model_writes():
    found = Lead().run(Last(PAIRS), "test")
    assert [line["prediction"] for line in found.lines] == ["one two", "five six seven"]
    assert found.scores["rouge1"] == pytest.approx((1 + 2 / 5) / 2)
    assert found.scores["rouge2"] == 0
    two = Lead(lines=2).run(Last(PAIRS), "test")
    assert [line["prediction"] for line in two.lines] == list(DOCUMENTS)


@pytest.mark.parametrize("evaluation", [Rouge(), Lead()])
def test_without_pairs_there_is_nothing_to_compare(evaluation):
    planned = Planned(lambda: (), None, None)
    (said,) = evaluation.unfit(planned)
    assert "TextPairs" in said and "Answers" in said
    assert not list(evaluation.unfit(planned._replace(pairs=True)))
    last = Last(PAIRS)
    last.data.pairs = None
    with pytest.raises(UserError, match="TextPairs"):
        evaluation.run(last, "test")
    with pytest.raises(UserError, match=r"evaluation\."):
        replace(evaluation, **{"rows" if evaluation == Rouge() else "lines": 0})


def test_a_machine_without_rouge_score_is_told_before_anything_is_trained(monkeypatch):
    monkeypatch.setitem(sys.modules, "rouge_score.rouge_scorer", None)
    planned = Planned(lambda: (), None, None, pairs=True)
    (said,) = Rouge().unfit(planned)
    assert "LM_JAX_EXTRAS=summaries" in said
