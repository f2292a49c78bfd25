"""Minimal pairs: what is counted, between which ends, and what is refused."""

import csv
import json

import numpy as np
import pytest
from scipy.stats import binomtest

from lm_jax.errors import UserError
from lm_jax.inspection.formulations import NAMES
from lm_jax.inspection.pairs import read_pairs
from lm_jax.inspection.probing import credits, probe, wilson
from lm_jax.inspection.reading import read
from lm_jax.tokenizers import Words
from tests.inspection.made import decoder, encoder

# Of our own, of the words of the tiny text.
PAIRS = [
    ("the cat sees the moon.", "the cat sees moon the.", "order"),
    ("a dog eats the worm.", "a dog eats a the.", "articles"),
    ("my bird likes the seed.", "my bird the likes seed.", "order"),
    ("one fish hears the tree.", "one fish hears hears tree.", "repeats"),
    ("the cat likes the mouse.", "the cat likes the mouse.", "repeats"),
]


def blimp(path, pairs=PAIRS, swapped=False):
    names = ("sentence_good", "sentence_bad")[:: -1 if swapped else 1]
    rows = [
        {names[0]: good, names[1]: bad, "field": field, "UID": "x"}
        for good, bad, field in pairs
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def crows(path, pairs=PAIRS):
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        names = ("", "sent_more", "sent_less", "stereo_antistereo", "bias_type")
        rows.writerow(names)
        for number, (more, less, kind) in enumerate(pairs):
            direction = "antistereo" if number == 1 else "stereo"
            rows.writerow((number, more, less, direction, kind))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("make", [decoder, encoder])
def test_the_share_is_of_pairs_whose_right_sentence_is_likelier(make, tmp_path):
    model, pairs = make(), read_pairs(blimp(tmp_path / "pairs.jsonl"))
    found = probe(model, pairs)
    scores = [
        [read(model, [text])[0].log_probability for text in pair[:2]] for pair in PAIRS
    ]
    np.testing.assert_allclose(found.scores, scores, rtol=1e-5)
    right = [1.0 if good > bad else 0.0 for good, bad in found.scores[:4]] + [0.5]
    assert found.whole.share == pytest.approx(np.mean(right))
    assert (found.whole.pairs, found.whole.ties) == (len(PAIRS), 1)
    kinds = {each.kind: each for each in found.kinds}
    assert {k: v.pairs for k, v in kinds.items()} == {
        "articles": 1,
        "order": 2,
        "repeats": 2,
    }
    assert {each.column for each in found.kinds} == {"field"}
    assert kinds["order"].share == pytest.approx(np.mean([right[0], right[2]]))
    assert found.whole.low <= found.whole.share <= found.whole.high


@pytest.mark.parametrize("make", [decoder, encoder, lambda: encoder(Words())])
def test_swapped_sentences_give_the_rest(make, tmp_path):
    model = make()
    formulations = [None] if model.writes else ["within-words", "tokens", "shared"]
    for formulation in formulations:
        one, other = (
            probe(model, read_pairs(blimp(tmp_path / "p.jsonl", PAIRS, swapped)),
                  formulation)
            for swapped in (False, True)
        )  # fmt: skip
        np.testing.assert_array_equal(one.scores, other.scores[:, ::-1])
        assert one.whole.share == pytest.approx(1 - other.whole.share)
        assert one.whole.low == pytest.approx(1 - other.whole.high)
        for kind, swapped in zip(one.kinds, other.kinds, strict=True):
            assert kind.share == pytest.approx(1 - swapped.share)


def test_crows_pairs_are_told_by_bias_and_by_direction(tmp_path):
    pairs = read_pairs(crows(tmp_path / "pairs.csv"))
    assert [pair[:2] for pair in pairs] == [pair[:2] for pair in PAIRS]
    model = encoder(Words())
    found = probe(model, pairs, "shared")
    counts = {(each.column, each.kind): each.pairs for each in found.kinds}
    assert counts == {
        ("bias_type", "articles"): 1,
        ("bias_type", "order"): 2,
        ("bias_type", "repeats"): 2,
        ("stereo_antistereo", "antistereo"): 1,
        ("stereo_antistereo", "stereo"): 4,
    }
    assert "CrowS-Pairs" in NAMES[found.formulation]
    assert found.unknown == 2  # "the." ends no sentence of the text
    strange = ("the zebra sees the moon.", "the cat sees the moon.", "order")
    pairs = read_pairs(crows(tmp_path / "strange.csv", [*PAIRS, strange]))
    assert probe(model, pairs, "shared").unknown == 3


def test_a_tsv_and_another_column_do_too(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text('sentence_bad\tsentence_good\tmine\na "b\tthe cat\tx\n')
    (pair,) = read_pairs(path, "mine")
    assert (pair.good, pair.bad, pair.kinds) == ("the cat", 'a "b', {"mine": "x"})
    (pair,) = read_pairs(path)
    assert pair.kinds == {}


@pytest.mark.parametrize("right, count", [(0, 5), (3, 7), (7, 7), (520, 1000)])
def test_the_interval_is_wilsons(right, count):
    theirs = binomtest(right, count).proportion_ci(0.95, method="wilson")
    assert wilson(float(right), count) == pytest.approx(
        (theirs.low, theirs.high), abs=1e-9
    )


def test_ties_count_half_and_what_is_impossible_loses():
    scores = np.array([[-1, -2], [-2, -1], [-3, -3], [-1, -np.inf], [-np.inf] * 2])
    np.testing.assert_array_equal(credits(scores), [1, 0, 0.5, 1, 0.5])


REFUSED = {
    "empty": (
        '{"sentence_good": "a", "sentence_bad": "b"}\n'
        '{"sentence_good": "a", "sentence_bad": " "}\n',
        "pairs.jsonl, line 2: 'sentence_bad' is empty",
    ),
    "missing": (
        '{"sentence_good": "a", "sentence_worse": "b"}\n',
        "pairs.jsonl, line 1 has no two sentences.*"
        "There is: sentence_good, sentence_worse",
    ),
    "missing later": (
        '{"sentence_good": "a", "sentence_bad": "b"}\n\n{"sentence_good": "a"}\n',
        "pairs.jsonl, line 3 has no column 'sentence_bad'.*There is: sentence_good",
    ),
    "no text": (
        '{"sentence_good": "a", "sentence_bad": 3}\n',
        "line 1: 'sentence_bad' holds no text but a number",
    ),
    "no object": ("[1]\n", "pairs.jsonl, line 1 is no object"),
    "no pair": ("\n", "has no pair of sentences"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_pair_is_refused_with_its_line(name, tmp_path):
    text, message = REFUSED[name]
    path = tmp_path / "pairs.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_pairs(path)


def test_so_is_what_is_no_table(tmp_path):
    with pytest.raises(UserError, match="no regular file|cannot be read"):
        read_pairs(tmp_path / "nothing.jsonl")
    (tmp_path / "pairs.txt").write_text("a b")
    with pytest.raises(UserError, match=r"ends in \.jsonl, \.csv or \.tsv"):
        read_pairs(tmp_path / "pairs.txt")
    (tmp_path / "pairs.csv").write_text("sentence_good,sentence_bad\na,b\n")
    with pytest.raises(UserError, match="line 2 has no column 'kind'.*There is"):
        read_pairs(tmp_path / "pairs.csv", "kind")
    (tmp_path / "pairs.csv").write_bytes(b"sentence_good,sentence_bad\n\xff,b\n")
    with pytest.raises(UserError, match="not UTF-8"):
        read_pairs(tmp_path / "pairs.csv")


def test_a_sentence_that_the_tokenizer_cannot_read_names_its_line(tmp_path):
    path = blimp(tmp_path / "pairs.jsonl", [("the cat", "the cät", "x")])
    with pytest.raises(UserError, match="pairs.jsonl, line 1: .*lacks 'ä'"):
        probe(decoder(), read_pairs(path))
