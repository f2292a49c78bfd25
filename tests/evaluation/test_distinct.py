"""Distinct words are counted over all answers, and people's beside."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from lm_jax.errors import UserError
from lm_jax.evaluation import Distinct
from lm_jax.evaluation.distinct import distinct
from lm_jax.evaluation.fitted import Planned
from lm_jax.generation import Sampling
from lm_jax.tokenizers import Words


def test_different_words_and_pairs_are_told_for_each_word():
    texts = ["I don't know.", "i do not know!", ""]
    # i don t know i do not know; i-don don-t t-know i-do do-not not-know
    assert distinct(texts, 1) == 6 / 8
    assert distinct(texts, 2) == 6 / 8
    assert distinct(["a b", "b a"], 2) == 2 / 4  # no pair lies across texts
    assert distinct(["我不知道"], 2) == 3 / 4
    assert distinct(["", "..."], 1) == 0


class Dull:
    """Always says the same, and notes how it was asked."""

    step, policy, writes, seed = 1, "", True, 7
    score = items = predictions = staticmethod(print)
    score_with_cache = vectors = rankings = staticmethod(print)

    def __init__(self, pairs):
        self.seeds = []
        tokenizer = Words().train([f"{s} {t}" for s, t in pairs], end=True)
        self.data = SimpleNamespace(
            tokenizer=tokenizer,
            stops=(),
            asked=lambda source, length: tokenizer.encode(source),
            pairs=lambda split: iter(pairs),
        )

    def generate(self, prompts, length, sampling, seed, beam, to_end):
        assert (length, sampling.temperature, to_end) == (40, 0.5, True)
        self.seeds.append(seed)
        return [np.repeat(self.data.tokenizer.encode("yes"), 2) for _ in prompts]


def test_answers_are_drawn_evenly_and_people_stand_beside():
    pairs = [(f"how {k}", f"yes so {k}") for k in range(10)]
    dull = Dull(pairs)
    how = Distinct(answers=5, sampling=Sampling(temperature=0.5), rows=2)
    found = how.run(dull, "test")
    assert found.scores == {
        "answers": 5,
        "distinct_1": 1 / 10,
        "distinct_2": 1 / 10,
        "people_distinct_1": 7 / 15,
        "people_distinct_2": 6 / 15,
    }
    assert [line["source"] for line in found.lines] == [s for s, _ in pairs[::2]]
    assert found.texts[1] == "how 2\n-> yes yes\n   (yes so 2)"
    assert len(set(dull.seeds)) == 3  # each batch is drawn by keys of its own
    assert replace(how, answers=99).run(dull, "test").scores["answers"] == 10


def test_without_answers_nothing_is_counted():
    planned = Planned(lambda: (), None, None)
    (said,) = Distinct().unfit(planned)
    assert "Conversations" in said
    assert not list(Distinct().unfit(planned._replace(pairs=True)))
    dull = Dull([("a", "b")])
    dull.data.pairs = None
    with pytest.raises(UserError, match="Conversations"):
        Distinct().run(dull, "test")
    with pytest.raises(UserError, match="top_p=2"):
        Distinct(sampling=Sampling(top_p=2.0))
    with pytest.raises(UserError, match="answers"):
        Distinct(answers=0)
