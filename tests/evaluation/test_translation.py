"""Texts are compared as sacreBLEU does, one for each source, in their order."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import sacrebleu

from lm_jax.errors import UserError
from lm_jax.evaluation import Moses, Translation
from lm_jax.evaluation.fitted import Planned
from lm_jax.evaluation.translation import compared
from lm_jax.evaluation.writing import write_texts
from lm_jax.tokenizers import Words

TARGETS = [
    "the cat sat on the mat .",
    "there is a dog here now",
    "he said : no , I won't !",
]
TEXTS = ["the cat sat on a mat .", "there is the dog", "He said: no, I will not!"]


@pytest.mark.parametrize("tokenize", ["13a", "intl", "char", "none"])
@pytest.mark.parametrize("lowercase", [False, True])
def test_both_scores_are_sacrebleus(tokenize, lowercase):
    scores, signatures = compared(TEXTS, TARGETS, tokenize, lowercase)
    how = {"tokenize": tokenize, "lowercase": lowercase}
    wanted = sacrebleu.corpus_bleu(TEXTS, [TARGETS], **how).score
    assert scores["bleu"] == pytest.approx(wanted)
    assert 0 < wanted < 100
    texts, targets = (
        [text.lower() if lowercase else text for text in each]
        for each in (TEXTS, TARGETS)
    )
    chrf = sacrebleu.corpus_chrf(texts, [targets]).score
    assert scores["chrf"] == pytest.approx(chrf)
    assert f"tok:{tokenize}" in signatures["bleu"]
    assert ("case:lc" if lowercase else "case:mixed") in signatures["bleu"]


def test_chinese_is_parted_into_characters():
    texts, targets = ["我喜欢猫。"], ["我喜欢狗。"]
    as_words = compared(texts, targets, "13a", False)[0]["bleu"]
    assert compared(texts, targets, "zh", False)[0]["bleu"] > as_words


def test_moses_parts_words_and_sacrebleus_own_stand_beside():
    moses = pytest.importorskip("sacremoses").MosesTokenizer("de")
    texts, targets = ["Z.B. ein Hund, er bellt!"], ["Z.B. ein Hund und er bellt!"]
    both = texts[0].lower(), targets[0].lower()
    parted = [moses.tokenize(text, return_str=True) for text in both]
    assert parted[0] == "z.b. ein hund , er bellt !"
    scores, signatures = compared(texts, targets, Moses("de"), True)
    how = {"tokenize": "none", "lowercase": True}
    wanted = sacrebleu.corpus_bleu(parted[:1], [parted[1:]], **how).score
    assert scores["bleu"] == pytest.approx(wanted)
    plain, said = compared(texts, targets, "13a", True)
    assert scores["sacrebleu"] == plain["bleu"] and scores["chrf"] == plain["chrf"]
    assert signatures["bleu"].endswith("|parted:sacremoses-de")
    assert signatures["sacrebleu"] == said["bleu"]


def test_small_letters_are_made_before_moses_parts_words():
    """It takes a mark before a small letter for that of a shortened word."""
    pytest.importorskip("sacremoses")
    targets = ["Ein Hund bellt. Er rennt durch das Gras.", "Mr. Smith kam."]
    texts = [target.lower() for target in targets]
    for language in ("de", "en"):
        scores, _ = compared(texts, targets, Moses(language), True)
        assert scores["bleu"] == pytest.approx(100)


def test_moses_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacremoses", None)
    with pytest.raises(UserError, match="extra `translation`"):
        compared(TEXTS, TARGETS, Moses(), False)


def test_texts_and_targets_of_other_numbers_are_refused():
    with pytest.raises(UserError, match="2 texts can't be compared with 3 targets"):
        compared(TEXTS[:2], TARGETS, "13a", False)


class Echo:
    """Writes each source again, and notes how it was asked."""

    step, policy, writes, seed = 1, "", True, 0
    score = items = predictions = staticmethod(print)
    score_with_cache = vectors = rankings = staticmethod(print)

    def __init__(self, pairs):
        tokenizer = Words().train([" ".join(s for s, _ in pairs)], end=True)
        end_id = tokenizer.end_id
        self.asked = []
        self.data = SimpleNamespace(
            tokenizer=tokenizer,
            stops=(),
            asked=lambda source, length: np.append(tokenizer.encode(source), end_id),
            pairs=lambda split: iter(pairs),
        )

    def generate(self, prompts, length, sampling, seed, beam, to_end):
        self.asked.append(len(prompts))
        assert sampling.temperature == 0 and to_end
        return [p[:-1] for p in prompts]


def test_each_source_has_its_text_whatever_stands_beside_it():
    sources = [" ".join(f"w{k}" for k in range(n)) for n in (5, 2, 9, 3, 7)]
    pairs = [(source, "another") for source in sources]
    for rows in (1, 2, 64):
        echo = Echo(pairs)
        assert write_texts(echo, sources, 9, rows) == sources
        assert set(echo.asked) == {rows}  # one shape, compiled once
    found = Translation(rows=2).run(Echo([(s, s) for s, _ in pairs]), "test")
    assert found.scores["bleu"] == pytest.approx(100)
    assert found.scores["length_ratio"] == 1.0
    assert set(found.more["signatures"]) == {"bleu", "chrf"}
    assert [line["source"] for line in found.lines] == sources
    assert found.lines[4] == dict.fromkeys(
        ("source", "prediction", "target"), sources[4]
    )
    assert found.texts[0] == f"{sources[0]}\n-> {sources[0]}\n   ({sources[0]})"


def test_a_text_ends_before_what_ends_an_answer():
    echo = Echo([("a b x c", "a b"), ("x a", ""), ("b c", "b c")])
    echo.data.stops = " x", "x"
    assert write_texts(echo, ["a b x c", "x a", "b c"], 9, 2) == ["a b", "", "b c"]


def test_without_pairs_there_is_nothing_to_compare():
    planned = Planned(lambda: (), None, None)
    (said,) = Translation().unfit(planned)
    assert "TextPairs" in said
    assert not list(Translation().unfit(planned._replace(pairs=True)))
    echo = Echo([("a b", "c")])
    echo.data.pairs = None
    with pytest.raises(UserError, match="TextPairs"):
        Translation().run(echo, "test")
    with pytest.raises(UserError, match="rows"):
        replace(Translation(), rows=0)
