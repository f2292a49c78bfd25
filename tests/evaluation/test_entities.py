"""Entities are counted as conlleval counts them, on cases worked out by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from lm_jax.evaluation import EntityScores, Predictions
from lm_jax.evaluation.entities import (
    Entity,
    entities,
    entity_counts,
    entity_scores,
)
from lm_jax.evaluation.fitted import Planned

CASES = {
    "O O": set(),
    "B-P I-P O B-L": {Entity("P", 0, 2), Entity("L", 3, 4)},
    "B-P B-P I-P": {Entity("P", 0, 1), Entity("P", 1, 3)},
    "I-P I-P O": {Entity("P", 0, 2)},
    "I-P I-L I-L": {Entity("P", 0, 1), Entity("L", 1, 3)},
    "B-P I-L": {Entity("P", 0, 1), Entity("L", 1, 2)},
    "B-P O I-P": {Entity("P", 0, 1), Entity("P", 2, 3)},
    "B-X-Y I-X-Y": {Entity("X-Y", 0, 2)},
    "S-P B-P I-P E-P O": {Entity("P", 0, 1), Entity("P", 1, 4)},
    "B-P L-P U-P U-L": {Entity("P", 0, 2), Entity("P", 2, 3), Entity("L", 3, 4)},
    "B-P E-P I-P": {Entity("P", 0, 2), Entity("P", 2, 3)},
    "": set(),
}


@pytest.mark.parametrize("labels", CASES)
def test_entities_of_both_customs(labels):
    assert entities(labels.split()) == CASES[labels]


def test_an_entity_counts_whole_and_of_its_kind():
    given = ["B-P", "I-P", "O", "B-L", "O", "B-P"]
    said = ["B-P", "I-P", "O", "B-P", "O", "O"]
    counts = entity_counts(given, said)
    assert entity_scores(counts) == pytest.approx(
        {"precision": 1 / 2, "recall": 1 / 3, "f1": 2 / 5}
    )
    short = entity_counts(given[:2], ["B-P", "O"])
    assert entity_scores(short)["f1"] == 0 == entity_scores(counts - counts)["f1"]
    # Sentences add up to counts, and not to means of their scores.
    whole = entity_scores(counts + entity_counts(["B-L"], ["B-L"]))
    assert whole["precision"] == pytest.approx(2 / 3)


class Told:
    """Says the labels of rows, some of which are of one sentence."""

    step, policy, writes, seed = 1, "", False, 0
    score = items = generate = vectors = staticmethod(print)
    score_with_cache = rankings = staticmethod(print)
    data = SimpleNamespace(
        fields=[SimpleNamespace(name="tags")], sentences={"test": [0, 1, 1, 2]}
    )

    def predictions(self, split, progress=None):
        names = ("O", "B-P", "I-P")
        expected = [[0, -1, -1], [0, 1, -1], [2, -1, 0], [1, 2, -1]]
        found = [[0, -1, -1], [0, 1, -1], [2, -1, 0], [1, 0, -1]]
        return Predictions(np.array(expected), np.array(found, float), names)


def test_a_sentence_of_several_rows_is_one():
    found = EntityScores().run(Told(), "test")
    assert found.scores == {"precision": 1 / 2, "recall": 1 / 2, "f1": 1 / 2}
    assert [line["text"] for line in found.lines] == [1, 2, 3]
    assert found.lines[1]["labels"] == ["O", "B-P", "I-P", "O"]


@pytest.mark.parametrize(("labels", "fits"), [("O S-P", True), ("NOUN VERB", False)])
def test_labels_without_an_entity_are_refused(labels, fits):
    """Their F1 would be 0, whatever is learnt."""
    planned = Planned(lambda: (), None, None, "tags", labels=tuple(labels.split()))
    said = list(EntityScores().unfit(planned))
    assert said == [] if fits else "there is NOUN, VERB" in said[0]


def test_scores_are_those_of_seqeval():
    metrics = pytest.importorskip("seqeval.metrics")
    rows = [labels.split() for labels in CASES if labels]
    said = [["O"] * len(row) for row in rows[:2]] + rows[2:]
    counts = sum(
        (entity_counts(*pair) for pair in zip(rows, said, strict=True)),
        start=entity_counts([], []),
    )
    f1 = metrics.f1_score(rows, said)
    assert entity_scores(counts)["f1"] == pytest.approx(f1)
