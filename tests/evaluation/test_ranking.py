"""Scores of rankings: by hand, over all judged queries, whatever was found."""

from math import log2
from unittest.mock import MagicMock

import numpy as np
import pytest

from lm_jax.errors import UserError
from lm_jax.evaluation import Fitted, Ranking, rank_scores
from lm_jax.evaluation.rankings import Rankings, best_first
from lm_jax.text import Judged
from lm_jax.text.collection import Passage

pytest.importorskip("pytrec_eval")
GRADES = {"q": {"a": 3, "b": 1, "c": 0, "z": 2}, "r": {"a": 1}, "s": {"c": 1}}


def test_gains_are_grades_and_the_ideal_is_of_the_judgements():
    """z answers too and was not found: the ideal order has it."""
    found = {
        "q": {"b": 3.0, "c": 2.0, "a": 1.0},
        "r": {"x": 2.0, "a": 1.0},
        "s": {"c": 1},
    }
    scores = rank_scores(found, GRADES)
    ideal = 3 + 2 / log2(3) + 1 / log2(4)
    gain = 1 + 3 / log2(4)
    assert scores["ndcg@10"] == pytest.approx((gain / ideal + 1 / log2(3) + 1) / 3)
    assert scores["mrr"] == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert scores["map"] == pytest.approx(((1 + 2 / 3) / 3 + 1 / 2 + 1) / 3)
    assert scores["recall@10"] == pytest.approx((2 / 3 + 1 + 1) / 3)


@pytest.mark.parametrize("missing", [{}, {"s": {}}])
def test_a_query_for_which_nothing_is_found_counts_0(missing):
    found = {"q": {"a": 1.0}, "r": {"a": 1.0}} | missing
    scores = rank_scores(found, GRADES)
    assert scores["mrr"] == pytest.approx(2 / 3)
    assert rank_scores(missing, GRADES) == dict.fromkeys(scores, 0.0)


def test_a_query_without_an_answer_counts_0_and_none_is_refused():
    assert rank_scores({"q": {"a": 1.0}}, {"q": {"a": 0}})["ndcg@10"] == 0.0
    with pytest.raises(UserError, match="no query with a judgement"):
        rank_scores({}, {})


def test_the_order_counts_and_not_the_scores():
    """trec_eval itself would put the equal ones in the order of their ids."""
    for names in (("a", "b"), ("b", "a")):
        scores = rank_scores({"r": dict.fromkeys(names, 1.0)}, {"r": {"a": 1}})
        assert scores["mrr"] == (1.0 if names[0] == "a" else 0.5)


def test_equal_scores_stand_in_the_order_of_the_collection():
    places, scores = best_first(np.float32([[1, 3, 1, 3, 0]]), 4)
    assert places.tolist() == [[1, 3, 0, 2]] and scores.tolist() == [[3, 3, 1, 1]]


@pytest.mark.parametrize(("own", "rank"), [(True, 2), (False, 1)])
def test_a_document_that_is_the_query_itself_is_left_out_if_asked(own, rank):
    documents = tuple(Passage(name, "", name) for name in ("q", "b", "c"))
    queries, grades = {"test": {"q": "?"}}, {"q": {"b": 1}}
    judged = Judged(documents, ("q", "b", "c"), queries, grades, "")
    fitted = MagicMock(spec=Fitted)
    fitted.rankings.return_value = Rankings(
        judged, ["q"], np.arange(3)[None], np.float32([[3, 2, 1]])
    )
    assert Ranking(own=own).run(fitted, "test").scores["mrr"] == 1 / rank
    assert fitted.rankings.call_args[0][:2] == ("test", 1000 if own else 1001)


@pytest.mark.parametrize("fields", [{"cuts": (5,)}, {"depth": 50}, {"cuts": (0, 10)}])
def test_cuts_that_can_not_be_are_refused(fields):
    with pytest.raises(UserError, match="cuts are from 1 to the depth"):
        Ranking(**fields)
