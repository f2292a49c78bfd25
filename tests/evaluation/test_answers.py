"""Agreement is that of the official scripts, on cases that are worked out by hand."""

import pytest

from lm_jax.evaluation.answers import agreement, common_run, normalised

# found, given, whether answers may lack; exact and F1.
ENGLISH = [
    ("Denver Broncos", ["Denver Broncos"], False, 1, 1),
    ("the  denver-broncos!", ["Denverbroncos"], False, 1, 1),
    ("Broncos", ["Denver Broncos"], False, 0, 2 / 3),
    ("a big red dog", ["the red dog ran", "a cat"], False, 0, 4 / 6),
    ("dog dog cat", ["dog cat cat"], False, 0, 2 / 3),
    ("theatre an", ["theatre"], False, 1, 1),
    ("1,000", ["1000"], False, 1, 1),
    ("café", ["cafe"], False, 0, 0),
    ("x", ["y", "x y"], False, 0, 2 / 3),
    ("", ["x"], False, 0, 0),
    # Where nothing is left of both, 1.1 has no common word, and 2.0 agreement.
    ("the", ["a"], False, 1, 0),
    ("the", ["a"], True, 1, 1),
    ("", [], True, 1, 1),
    ("x", [], True, 0, 0),
    ("", ["x"], True, 0, 0),
    # 2.0 takes no account of an answer of which nothing is left.
    ("", ["the", "x"], True, 0, 0),
    ("", ["the", "x"], False, 1, 0),
]
# found, given; exact and F1: the longest run of characters, marks taken out.
CHINESE = [
    ("北京", ["北京"], 1, 1),
    ("北京。", ["《北京》"], 1, 1),
    ("在北京", ["北京市"], 0, 2 / 3),
    ("北大京", ["北京"], 0, 2 / 5),
    ("2010年", ["2010 年"], 0, 1),
    ("Nexon公司", ["nexon"], 0, 2 / 4),
    ("上海", ["北京", "上海市"], 0, 4 / 5),
    ("", ["北京"], 0, 0),
    ("64.6公里，由", ["364.6公里"], 0, 4 / 7),
    # Its marks are not ASCII's: a full stop stays.
    ("3.", ["3"], 0, 2 / 3),
    # It means to take out the six dots, and doesn't: two of three segments are one run.
    ("北京……", ["北京"], 0, 4 / 5),
    ("我……你", ["我你"], 0, 2 / 5),
    ("…", ["·"], 0, 0),
    ("abc…", ["abc"], 0, 0),
]


@pytest.mark.parametrize(("found", "given", "may_lack", "exact", "f1"), ENGLISH)
def test_english_answers(found, given, may_lack, exact, f1):
    both = agreement(found, given, "squad", may_lack)
    assert both == pytest.approx((exact, f1))


@pytest.mark.parametrize(("found", "given", "exact", "f1"), CHINESE)
def test_chinese_answers(found, given, exact, f1):
    assert agreement(found, given, "cmrc", False) == pytest.approx((exact, f1))


def test_the_longest_run_is_no_subsequence():
    assert common_run("甲乙丙丁", "甲乙戊丙丁") == pytest.approx(2 * 2 / 9)


def test_english_answers_are_those_of_transformers():
    metrics = pytest.importorskip("transformers.data.metrics.squad_metrics")
    for found, given, may_lack, *_ in ENGLISH:
        if not may_lack:
            continue
        kept = [text for text in given if metrics.normalize_answer(text)] or [""]
        exact = max(metrics.compute_exact(text, found) for text in kept)
        f1 = max(metrics.compute_f1(text, found) for text in kept)
        both = agreement(found, given, "squad", True)
        assert both == pytest.approx((exact, f1))
        assert normalised(found) == metrics.normalize_answer(found)
