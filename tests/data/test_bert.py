"""Rows of pairs are those that transformers makes with BERT's own tokenizer."""

import json

import numpy as np
import pytest

from lm_jax.data import Labelled, SentencePairs
from lm_jax.data.pieces import Cutter
from lm_jax.data.questions import ask
from lm_jax.text import Corpus
from lm_jax.text.squad import Passage, Question
from lm_jax.tokenizers import Pretrained

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [
    "the",
    "cat",
    "see",
    "##s",
    "un",
    "##aff",
    "##able",
    "caf",
    "##e",
    ".",
    ",",
    "?",
]
WORDS += ["-", "_", "'", "猫", "a", "##b", "b", "mouse"]
ONE = "The cat sees un-affable cafés, a_b!"
PAIRS = [
    (ONE, "Who's there?"),
    ("cat", "The mouse sees the cat. 猫猫 unaffable, the cat sees a mouse"),
    ("the cat sees the mouse a b", "a mouse sees the cat, the cat"),
    ("the cat sees", "the mouse sees a cat a b a b"),
    ("Zoë", "naïve ?"),
]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """BERT's tokenizer of a small vocabulary, in the folder that it names."""
    bert = pytest.importorskip("transformers").BertTokenizerFast
    folder = tmp_path_factory.mktemp("bert")
    (folder / "vocab.txt").write_text("\n".join([*SPECIALS, *WORDS]) + "\n")
    made = bert(str(folder / "vocab.txt"))
    made.save_pretrained(str(folder))
    return made


@pytest.fixture(scope="module")
def own(library, tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    library.save_pretrained(str(folder))
    return Pretrained(str(folder))


def read(row):
    """The ids of a row, and which text each is of."""
    there = row["segments"] > 0
    types = row["types"] if "types" in row else row["segments"] > 1
    return row["inputs"][there].tolist(), types[there].astype(int).tolist()


def shortened(one, two, room):
    """`truncate_seq_pair` of google-research/bert."""
    while len(one) + len(two) > room:
        (one if len(one) > len(two) else two).pop()
    return one, two


@pytest.mark.parametrize("room", [64, 12, 11, 7])
def test_pairs_with_labels(library, own, tmp_path, room):
    """Whole, and the longer one cut first."""
    rows = [
        {"text": a, "two": b, "label": ["no", "yes"][k % 2]}
        for k, (a, b) in enumerate(PAIRS)
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = Labelled(Corpus(str(path), validation=0.0), own, lengths=(room,), pair="two")
    windows = data.prepare(tmp_path / "cache").evaluation("train", 1)
    found = [read(windows.row(k)) for k in range(windows.count)]
    wanted = []
    for a, b in PAIRS:
        made = library(a, b, truncation="longest_first", max_length=room)
        parts = [
            library(each, add_special_tokens=False)["input_ids"] for each in (a, b)
        ]
        if min(map(len, parts)) > (room - 3) // 2 and room % 2 == 0:
            # BERT's own program leaves the first what can't be halved.
            one, two = shortened(*parts, room - 3)
            kinds = [0] * (len(one) + 2) + [1] * (len(two) + 1)
            made = {"input_ids": [2, *one, 3, *two, 3], "token_type_ids": kinds}
        wanted.append((made["input_ids"], made["token_type_ids"]))
    assert sorted(found) == sorted(wanted)


@pytest.mark.parametrize("room", [64, 16])
def test_questions_beside_windows_of_their_passages(library, own, room):
    stride, made = 3, own.train(())
    passages = [
        Passage(str(k), passage, (Question(str(k), question, ()),))
        for k, (question, passage) in enumerate([PAIRS[1], PAIRS[4], ("a cat?", ONE)])
    ]
    marks = (made.around.first[0], made.around.end, made.around.end)
    questions = ask(passages, Cutter(made), marks, room, 8, stride)
    found = [read(questions.row(k, room)) for k in range(len(questions.windows))]
    kinds = [
        row["segments"] for row in (questions.row(k, room) for k in range(len(found)))
    ]
    wanted = []
    for passage in passages:
        question = passage.questions[0].text
        asked = len(library(question)["input_ids"])
        made = library(
            question,
            passage.text,
            truncation="only_second",
            max_length=room,
            # Of what two windows share, not of how far apart they begin.
            stride=max(0, room - asked - 1 - stride),
            return_overflowing_tokens=True,
        )
        wanted += zip(made["input_ids"], made["token_type_ids"], strict=True)
    assert found == wanted and len(wanted) > len(passages) * (room == 16)
    assert all(3 in each for each in kinds)


def test_pairs_with_hidden_tokens(library, own, tmp_path):
    sentences = ["the mouse sees the cat. ", "a_b, unaffable cafés. ", "see 猫猫. "]
    texts = ["".join((sentences * 2)[k % 3 :][:4]) for k in range(12)]
    path = tmp_path / "documents.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    data = SentencePairs(Corpus(str(path), validation=0.0), own, 48)
    windows = data.prepare(tmp_path / "cache").evaluation("train", 1)
    for k in range(windows.count):
        row = windows.row(k)
        ids, types = read(row | {"inputs": row["originals"]})
        first, second = (
            library.decode(
                [i for i, kind in zip(ids, types, strict=True) if kind == k and i > 4]
            )
            for k in (0, 1)
        )
        made = library(first, second)
        assert (ids, types) == (made["input_ids"], made["token_type_ids"])
        hidden = set(np.array(row["originals"])[row["mask"] > 0].tolist())
        assert hidden and not hidden & {2, 3}
