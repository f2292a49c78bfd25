"""Stories are read with their questions, and each is whole in one split."""

import io
import tarfile

import pytest

from lm_jax.errors import UserError
from lm_jax.text import Corpus, find
from lm_jax.text.babi import Line, read_babi
from lm_jax.text.stories import find_stories

STORY = "1 Mary went home.\n2 Where is Mary? \thome\t1\n3 She left.\n"
OTHER = "1 John has milk.\n2 What has John?\tmilk,egg\t1\n3 Is it so?\tyes\t1 2\n"


def write(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def test_a_story_begins_with_1_and_questions_have_answers(tmp_path):
    folder = write(tmp_path / "a", qa7_some_train=STORY + OTHER)
    first, second = read_babi(folder / "qa7_some_train.txt")
    assert (first.task, first.split) == ("qa7", "train")
    assert first.lines == (
        Line("Mary went home.", None),
        Line("Where is Mary?", "home"),
        Line("She left.", None),
    )
    assert [line.answer for line in second.lines] == [None, "milk,egg", "yes"]


def test_an_archive_is_its_files(tmp_path):
    path = tmp_path / "babi.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in (
            ("b/en/qa1_x_train.txt", STORY),
            ("b/en/qa1_x_test.txt", OTHER),
            ("b/README.txt", "not a story"),
            ("b/en/._qa1_x_test.txt", "not a story"),
        ):
            about = tarfile.TarInfo(name)
            about.size = len(text.encode())
            archive.addfile(about, io.BytesIO(text.encode()))
    told = find_stories(Corpus(str(path), validation=0.0), tmp_path / "c").splits
    assert {split: len(found) for split, found in told.items()} == {
        "train": 1,
        "test": 1,
    }


def test_validation_is_drawn_from_training_alone(tmp_path):
    many = "".join(f"1 Number {k}.\n2 Which?\tn{k}\t1\n" for k in range(60))
    folder = write(tmp_path / "a", qa1_x_train=many, qa1_x_test=OTHER)
    told = find_stories(Corpus(str(folder), validation=0.3), tmp_path / "c")
    sizes = {split: len(found) for split, found in told.splits.items()}
    assert sizes["test"] == 1 and 8 < sizes["validation"] < 28
    assert sizes["train"] + sizes["validation"] == 60
    texts = [story.text for found in told.splits.values() for story in found]
    assert len(set(texts)) == 61
    other = find_stories(Corpus(str(folder), validation=0.2), tmp_path / "c")
    assert other.digest != told.digest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 Yes.\nno number\n", "line 2: 'no number' is neither"),
        ("1 Yes.\n3 Then.\n", "line 2: its number is 3, and 2 is next"),
        ("2 Then.\n", "line 1: its number is 2, and 1 is next"),
        ("1 Who?\t \t1\n", "line 1: the question 'Who\\?' has no answer"),
        ("1 Who?\ta\tb\n", "line 1: .* is neither"),
    ],
)
def test_what_is_no_story_is_named_with_its_line(tmp_path, text, said):
    folder = write(tmp_path / "a", qa1_x_train=text)
    with pytest.raises(UserError, match=said):
        list(read_babi(folder / "qa1_x_train.txt"))


def test_a_corpus_without_stories_is_refused(tmp_path):
    with pytest.raises(UserError, match="'ptb' has no stories"):
        find_stories(Corpus("ptb"), tmp_path)
    folder = write(tmp_path / "a", qa1_x_test=STORY)
    with pytest.raises(UserError, match="no stories that train"):
        find_stories(Corpus(str(folder)), tmp_path / "c")


def test_as_a_text_it_has_no_story_of_the_test(tmp_path, monkeypatch):
    folder = write(tmp_path / "babi", qa1_x_train=STORY, qa1_x_test=OTHER)
    with tarfile.open(folder / "babi_v1.2_en_1k.tar", "w") as archive:
        for name in ("qa1_x_train.txt", "qa1_x_test.txt"):
            archive.add(folder / name, name)
    monkeypatch.setenv("LM_JAX_DATA", str(tmp_path))
    found = find(Corpus("babi", validation=0.0), tmp_path / "c")
    texts = [piece.text for piece in found.pieces()]
    assert texts == ["Mary went home.\nWhere is Mary? home\nShe left."]
