"""Conversations are read as they are given out; what is none is named by its line."""

import json
import zipfile

import pytest

from lm_jax.errors import UserError
from lm_jax.text import Conversation, Corpus, Turn, find, find_conversations

LINES = ["Hi . __eou__ Hello ! __eou__ Bye . __eou__", "Why ? __eou__ So . __eou__"]
USER, ANSWER = Turn("user", "who?"), Turn("assistant", "me")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """DailyDialog's archives."""
    root = tmp_path / "data" / "dailydialog"
    root.mkdir(parents=True)
    for split in ("train", "validation", "test"):
        archive(root / f"{split}.zip", split, LINES)
    monkeypatch.setenv("LM_JAX_DATA", str(tmp_path / "data"))
    return root


def archive(path, split, lines):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{split}/dialogues_act_{split}.txt", "1 2 3\n")
        file.writestr(f"{split}/dialogues_{split}.txt", "\n".join(lines) + "\n")


def messages(path, *rows):
    rows = [[turn._asdict() for turn in row] for row in rows]
    path.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    return Corpus(str(path), column="messages", validation=0.3)


def test_two_sides_take_turns(folder, tmp_path):
    found = find_conversations(Corpus("dailydialog"), tmp_path / "cache")
    assert set(found.splits) == {"train", "validation", "test"}
    first, second = found.splits["validation"]
    roles = [turn.role for turn in first.turns]
    assert roles == ["user", "assistant", "user"]
    assert str(second) == "user: Why ?\nassistant: So ."
    plain = find(Corpus("dailydialog"), tmp_path / "cache")
    texts = [piece.text for piece in plain.pieces() if piece.split == "test"]
    assert texts == ["Hi .\nHello !\nBye .", "Why ?\nSo ."]


def test_messages_are_split_by_their_text(tmp_path):
    rows = [(Turn("system", str(k)), USER, ANSWER) for k in range(40)]
    found = find_conversations(messages(tmp_path / "a.jsonl", *rows), tmp_path / "c")
    kept = [talk for talks in found.splits.values() for talk in talks]
    assert sorted(map(str, kept)) == sorted(str(Conversation(row)) for row in rows)
    assert 4 < len(found.splits["validation"]) < 20
    again = find_conversations(messages(tmp_path / "b.jsonl", *rows[::-1]), tmp_path)
    assert set(again.splits["validation"]) == set(found.splits["validation"])


@pytest.mark.parametrize("line", ["Hi . __eou__", "a __eou__ b", "a __eou__ __eou__"])
def test_a_line_that_is_no_dialogue_is_named(folder, tmp_path, line):
    archive(folder / "test.zip", "test", [*LINES, line, line])
    with pytest.raises(UserError, match=r"test\.zip, line 3 is no dialogue"):
        find_conversations(Corpus("dailydialog"), tmp_path / "cache")


def test_an_archive_that_is_none_is_refused(folder, tmp_path):
    archive(folder / "test.zip", "other", LINES)
    with pytest.raises(UserError, match=r"test\.zip has no dialogues_train"):
        find_conversations(Corpus("dailydialog"), tmp_path / "cache")
    (folder / "test.zip").write_text("PK")
    with pytest.raises(UserError, match=r"test\.zip is no zip archive"):
        find_conversations(Corpus("dailydialog"), tmp_path / "cache")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({}, "line 2 has no 'messages'. Did you mean 'message'"),
        ({"messages": "a"}, "line 2: 'messages' is no list"),
        ({"messages": [USER._asdict()]}, "line 2 has no message of the assistant"),
        ({"messages": [{"role": "user"}]}, "line 2, message 1 is no {"),
        ({"messages": [{"role": "usr", "content": "a"}]}, "Did you mean 'user'"),
        ({"messages": [{"role": "user", "content": " "}]}, "message 1 is empty"),
    ],
)
def test_a_row_that_is_no_conversation_is_named(tmp_path, row, said):
    corpus = messages(tmp_path / "a.jsonl", (USER, ANSWER))
    with (tmp_path / "a.jsonl").open("a") as file:
        file.write(json.dumps({"message": 0} | row) + "\n")
    with pytest.raises(UserError) as refused:
        find_conversations(corpus, tmp_path / "cache")
    assert said in str(refused.value)


def test_what_has_no_conversations_is_refused(tmp_path):
    with pytest.raises(UserError, match="'names' has no conversations.*dailydialog"):
        find_conversations(Corpus("names"), tmp_path)
    with pytest.raises(UserError, match="no file or folder"):
        find_conversations(Corpus("./nothing.jsonl"), tmp_path)
