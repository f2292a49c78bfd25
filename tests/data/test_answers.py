"""Prompts with answers: what is read, what is predicted, what is cut."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.data import AnswerPairs, Answers
from lm_jax.data.answers import kept
from lm_jax.data.texts import texts
from lm_jax.errors import UserError
from lm_jax.text import Corpus
from lm_jax.tokenizers import Characters
from tests.properties import quick

PROMPTS = ("a?", "bc?", "abba?", "cab?") * 6
GOOD, BAD = ("aab", "b", "cc", "bca"), ("c", "aaa", "ab", "b")


@pytest.fixture
def table(tmp_path):
    """Rows whose prompt is numbered, so that none comes twice."""
    rows = [
        {"ask": f"{k}{prompt}", "good": GOOD[k % 4], "bad": BAD[k // 4 % 4]}
        for k, prompt in enumerate(PROMPTS)
    ]
    path = tmp_path / "table.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path, rows


def corpus(path):
    return Corpus(str(path), column="ask", validation=0.2)


def answers(path, **fields):
    fields = {"answer": "good", "between": "?", "lengths": (6, 8, 16)} | fields
    return Answers(corpus(path), **fields)


def each_row(made, split):
    windows = made.evaluation(split, 3)
    for k in range(len(windows)):
        for place in range(len(windows.numbers(k))):
            yield {name: array[place] for name, array in windows[k].items()}


def read(made, row):
    """The text that is read, and what is predicted after it, ends as "|"."""
    spell = made.tokenizer.symbols
    ids = np.append(row["inputs"][:1], row["targets"])
    last = int(np.flatnonzero(row["mask"])[-1])
    first = int(np.flatnonzero(row["mask"])[0])
    assert (row["mask"][first : last + 1] == 1).all()  # one span
    np.testing.assert_array_equal(row["inputs"][1 : last + 1], row["targets"][:last])
    parts = ids[: first + 1], ids[first + 1 : last + 2]
    return tuple("".join(spell(part)).replace("<|end|>", "|") for part in parts)


def test_only_the_answer_and_its_end_are_predicted(table, tmp_path):
    path, rows = table
    made = answers(path).prepare(tmp_path / "cache")
    found = [read(made, row) for split in made.splits for row in each_row(made, split)]
    wanted = [(f"|{row['ask']}?", f"{row['good']}|") for row in rows]
    assert sorted(found) == sorted(wanted)
    assert made.statement.count("\n") < 5 and "lose their" not in made.statement
    coded = made.splits["validation"].coded
    assert coded.bytes == 0 < coded.read  # no bits per byte of prompts


def test_both_answers_follow_one_prompt(table, tmp_path):
    path, rows = table
    data = AnswerPairs(
        corpus(path), Characters(), "good", "bad", between="", lengths=(8, 16)
    )
    made = data.prepare(tmp_path / "cache")
    found = []
    for split in made.splits:
        for row in each_row(made, split):
            of = [
                {name.removeprefix("pair_"): array[k] for name, array in row.items()}
                for k in (0, 1)
            ]
            (prompt, good), (same, bad) = (read(made, each) for each in of)
            assert prompt == same
            found.append((prompt, good, bad))
    wanted = [(f"|{r['ask']}", f"{r['good']}|", f"{r['bad']}|") for r in rows]
    assert sorted(found) == sorted(wanted)
    (said,) = texts(made.tokenizer, {n: a[None] for n, a in row.items()})
    prompt, good, bad = (text.replace("|", "") for text in found[-1])
    both = ["chosen: ", f"{prompt}{good}", "rejected: ", f"{prompt}{bad}"]
    assert said.split("\n") == both
    order = made.order(0, 4)
    shapes = {f.name: f.sized(order.shapes[-1].length) for f in made.fields}
    batch = order.batch(0)
    length = order.shape(0).length
    assert set(batch) == set(shapes) == {*AnswerPairs.gives}
    assert all(batch[f.name].shape == (4, *f.sized(length)) for f in made.fields)
    assert all(batch[f.name].dtype == f.dtype for f in made.fields)


def test_what_is_cut_is_counted(table, tmp_path):
    path, rows = table
    made = answers(path, lengths=(4,)).prepare(tmp_path / "cache")
    prompts = answered = 0
    whole = {row["ask"] + "?" for row in rows}
    for split in made.splits:
        for row in each_row(made, split):
            prompt, answer = read(made, row)
            assert any(text.endswith(prompt.strip("|")) for text in whole)
            assert len(prompt) + len(answer) == 5
            prompts += prompt[0] != "|"
            answered += answer[-1] != "|"
    assert (prompts, answered) == (24, 18)
    assert f"{prompts} prompts lose their beginning and {answered} answers" in (
        made.statement
    )


@quick
@given(st.integers(1, 99), st.integers(1, 99), st.integers(1, 99))
def test_what_is_kept_fits_and_no_more_is_cut_than_must_be(prompt, answer, length):
    of_prompt, of_answer = kept(prompt, answer, length)
    assert 1 <= of_prompt <= prompt and 1 <= of_answer <= answer
    assert of_prompt + of_answer == min(prompt + answer, length + 1)
    assert of_answer == answer or of_answer >= (length + 1) // 2


def test_batches_are_the_same_after_a_restart_and_each_row_comes_once(table, tmp_path):
    path, _ = table
    orders = [
        answers(path).prepare(tmp_path / name).order(3, 4) for name in ("one", "two")
    ]
    for step in (0, 5, 11):
        a, b = (order.batch(step) for order in orders)
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
    assert answers(path).prepare(tmp_path / "one").order(4, 4).steps_per_epoch > 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"answer": "god"}, "no column 'god'. Did you mean 'good'"),
        ({"between": "#"}, "data.between='#': "),
        ({"lengths": (8, 4)}, "data.lengths"),
    ],
)
def test_what_gives_no_answers_is_refused(table, tmp_path, change, said):
    with pytest.raises(UserError, match=said.replace(".", r"\.")):
        answers(table[0], **change).prepare(tmp_path / "cache")


def test_an_empty_answer_is_refused_with_its_place(tmp_path):
    path = tmp_path / "table.jsonl"
    path.write_text('{"ask": "a", "good": "b"}\n{"ask": "a", "good": " "}\n')
    with pytest.raises(UserError, match="line 2 has no text in the column 'good'"):
        answers(path).prepare(tmp_path / "cache")


@pytest.mark.parametrize(("longest", "alike"), [(16, 8), (6, 24)])
def test_pairs_of_the_same_answer_are_counted(tmp_path, longest, alike):
    """Also those that differ where they are cut: nothing is to be preferred."""
    path = tmp_path / "table.jsonl"
    same = "abababababab"
    rows = [
        {"ask": f"{k}?", "good": same, "bad": same[:-1] + "c" if k % 3 else same}
        for k in range(24)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    whole = Corpus(str(path), column="ask", validation=0.0)
    data = AnswerPairs(
        whole, chosen="good", rejected="bad", between="?", lengths=(longest,)
    )
    if alike < len(rows):
        said = data.prepare(tmp_path / "cache").statement
        assert f"{alike} of the 24 pairs of train have the same answer twice" in said
    else:
        with pytest.raises(UserError, match="the same within 6 tokens: there is noth"):
            data.prepare(tmp_path / "cache")
