"""Questions become pairs with each answer, and their articles stay whole."""

import json

import numpy as np
import pytest

from lm_jax.data import Answers, TextPairs
from lm_jax.errors import UserError
from lm_jax.text import Corpus, find_pairs, find_questions
from lm_jax.tokenizers import Characters, Words
from tests.text.test_squad import PASSAGE, article, asked, many, write_squad

THREE = asked("q", ("1843", 41), ("in 1843", 38), ("1843", 41))
NONE = asked("n", impossible=True)


def pairs_of(text):
    pieces = [*text.pieces()]
    assert all(piece.last for piece in pieces) and text.together == 2
    both = zip(pieces[::2], pieces[1::2], strict=True)
    return [(a.split, a.text, b.text) for a, b in both if a.split == b.split]


def test_each_answer_has_a_pair_and_nothing_is_an_answer_too(tmp_path):
    path = write_squad(tmp_path / "a.json", article("Ada", THREE, NONE))
    corpus = Corpus(str(path), validation=0.0)
    first, last = (find_pairs(corpus, (), tmp_path / "c", way) for way in (False, True))
    assert pairs_of(first) == [
        ("train", f"What is q?\n{PASSAGE}", "1843"),
        ("train", f"What is q?\n{PASSAGE}", "in 1843"),
        ("train", f"What is n?\n{PASSAGE}", ""),
    ]
    turned = [source for _, source, _ in pairs_of(last)]
    assert turned == [f"{PASSAGE}\nWhat is {name}?" for name in "qqn"]
    assert first.digest != last.digest
    size = sum(len(a + b) for _, a, b in pairs_of(first))
    assert (first.bytes, first.may_lack) == (size, True)
    write_squad(tmp_path / "b.json", article("Ada", THREE))
    answered = find_pairs(Corpus(str(tmp_path / "b.json")), (), tmp_path / "c")
    assert not answered.may_lack


def test_an_article_is_in_the_split_that_spans_have_it_in(tmp_path):
    path = write_squad(tmp_path / "a.json", *many(20))
    corpus = Corpus(str(path), validation=0.3, test=0.3)
    spans = find_questions(corpus, None, 5, tmp_path / "cache")
    wanted = {
        (split, question.text)
        for split, passages in spans.splits.items()
        for passage in passages
        for question in passage.questions
    }
    found = pairs_of(find_pairs(corpus, (), tmp_path / "cache"))
    assert {(split, source.split("\n")[0]) for split, source, _ in found} == wanted
    assert {split for split, _ in wanted} == {"train", "validation", "test"}


@pytest.mark.parametrize("kind", [TextPairs, Answers])
def test_a_model_reads_a_question_and_learns_its_answers(tmp_path, kind):
    whole = tmp_path / "all"
    whole.mkdir()
    for split in ("train", "dev"):
        write_squad(whole / f"{split}.json", article("Ada", THREE, NONE))
    how = {"answer": "", "between": "\n"} if kind is Answers else {}
    made = kind(Corpus(str(whole)), Characters(), lengths=(90,), **how).prepare(
        tmp_path / "cache"
    )
    windows = made.evaluation("validation", 3)
    row, end = windows[0], made.tokenizer.end_id
    pairs = [*made.pairs("validation")]
    assert [answer for _, answer in pairs] == ["1843", "in 1843", ""]
    first = PASSAGE if kind is Answers else "What is q?"
    assert pairs[0][0].startswith(first)
    for place, number in enumerate(windows.numbers(0)):
        source, answer = pairs[number]
        targets = row["targets"][place][row["mask"][place] > 0]
        wanted = np.append(made.tokenizer.encode(answer), end)
        np.testing.assert_array_equal(targets, wanted)
        read = made.asked(source, 20)
        name = "inputs" if kind is Answers else "source"
        np.testing.assert_array_equal(row[name][place][: len(read)], read)


def test_tables_of_json_and_other_corpora_are_no_questions(tmp_path):
    path = tmp_path / "table.json"
    for table in ([{"text": "a"}], {"text": "a"}):
        path.write_text(json.dumps(table))
        assert find_pairs(Corpus(str(path)), (), tmp_path / "cache").together == 1
        with pytest.raises(UserError, match="no pairs. Name the column"):
            TextPairs(Corpus(str(path)), Words()).prepare(tmp_path / "cache")
    assert find_pairs(Corpus("names"), (), tmp_path / "cache").together == 1
    with pytest.raises(UserError, match="There is no file or folder"):
        find_pairs(Corpus("./none.json"), (), tmp_path / "cache")
    with pytest.raises(UserError, match="'answer_start'"):
        bad = json.dumps({"data": many(1)}).replace("answer_start", "start")
        path.write_text(bad)
        find_pairs(Corpus(str(path)), (), tmp_path / "cache")
