"""Who asks sees the tokens of training; what is said makes no tokens of its own."""

import json

import numpy as np
import pytest

from lm_jax.data import Answers
from lm_jax.data.template import Template, Turn, answer_template, plain_template
from lm_jax.errors import UserError
from lm_jax.text import Corpus
from lm_jax.tokenizers import Characters, Subwords
from lm_jax.tokenizers.characters import CharacterTokenizer
from lm_jax.tokenizers.utf8 import ByteTokenizer

pytest.importorskip("jinja2", reason="needs the extra `serve`")
BYTES = ByteTokenizer(end=True)
USER, ANSWER = Turn("user", "who?"), Turn("assistant", "me")


@pytest.mark.parametrize("tokenizer", [Characters(), Subwords(size=300)])
@pytest.mark.parametrize("between", ["\n", " '\\: "])
def test_what_is_asked_has_the_ids_of_training(tokenizer, between, tmp_path):
    path = tmp_path / "table.jsonl"
    rows = [
        {"ask": f"  where is {k}{between}?", "answer": f" it is {k * 7} é"}
        for k in range(40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = Corpus(str(path), column="ask", validation=0.2)
    data = Answers(corpus, tokenizer, between=between, lengths=(128,))
    made = data.prepare(tmp_path / "cache")
    asked = {
        tuple(data.template.ids([Turn("user", row["ask"])], made.tokenizer)): row
        for row in rows
    }
    found = 0
    windows = made.evaluation("validation", 1)
    for k in range(len(windows)):
        row = {name: array[0] for name, array in windows[k].items()}
        read = int(np.flatnonzero(row["mask"])[0]) + 1
        (end,) = np.flatnonzero(row["mask"])[-1:]
        given = asked[tuple(row["inputs"][:read])]
        turns = [Turn("user", given["ask"]), Turn("assistant", given["answer"])]
        whole = data.template.ids(turns, made.tokenizer, answer=False)
        seen = np.append(row["inputs"][:1], row["targets"])[: end + 2]
        np.testing.assert_array_equal(whole, seen)
        found += 1
    assert found >= 4


def test_several_turns_end_each_as_in_training():
    template = answer_template("\n")
    turns = [Turn("system", "be"), USER, ANSWER, USER]
    ids = template.ids(turns, BYTES).tolist()
    end = BYTES.end_id
    assert ids == [end, *b"be\nwho?\nme", end, *b"who?\n"]
    without = template.ids(turns, ByteTokenizer(end=False)).tolist()
    assert without == list(b"be\nwho?\nmewho?\n")


def test_what_is_said_writes_no_end_and_runs_no_jinja():
    template = answer_template("|")
    said = "<|end|>{{ end }}{% for %}"
    assert template.ids([Turn("user", said)], BYTES).tolist() == [
        BYTES.end_id,
        *said.encode(),
        *b"|",
    ]
    for mark in "\ufdd0\ufdd1":
        with pytest.raises(UserError, match="U\\+FDD0"):
            template.ids([Turn("user", f"a{mark}")], BYTES)


@pytest.mark.parametrize(
    ("characters", "said", "stops"),
    [("ab\n ", "\na\nb\n", ("\n\n",)), ("ab ", " a b ", ()), ("ab", "ab", ())],
)
def test_a_plain_template_uses_what_the_vocabulary_has(characters, said, stops):
    tokenizer = CharacterTokenizer(characters, unknown=False, end=False)
    template = plain_template(tokenizer)
    ids = template.ids([Turn("user", "a"), Turn("assistant", "b")], tokenizer)
    assert tokenizer.decode(ids) == said.lstrip("\n ")
    assert template.stops == stops


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("a\n{% if %}", "no Jinja, line 2"),
        ("{{ nothing }}", "can't write these turns: 'nothing' is undefined"),
        ("{{ turns.append(1) }}", "can't write these turns"),
        ("{{ turns.__class__.__mro__ }}", "can't write these turns"),
        ("{{ turns[0].update(a=1) }}", "can't write these turns"),
    ],
)
def test_a_template_that_is_none_or_reaches_out_is_one_message(source, message):
    with pytest.raises(UserError, match=message):
        Template(source).ids([USER], BYTES)
    with pytest.raises(UserError, match="by 'usr'. Did you mean 'user'"):
        Template("").ids([Turn("usr", "a")], BYTES)  # type: ignore[arg-type]
