"""Files that are named after a split are of it, whatever they hold."""

import json

import pytest

from lm_jax.data.token_labels import _read as find_sentences
from lm_jax.text import Corpus, find, find_conversations, find_questions
from lm_jax.text.stories import find_stories

NUMBERS = {"train": range(60), "test": range(60, 80), "dev": range(80, 90)}


def rows(numbers):
    return "".join(json.dumps({"text": f"number {k}"}) + "\n" for k in numbers)


def conversations(numbers):
    said = [
        {
            "text": [
                {"role": "user", "content": "?"},
                {"role": "assistant", "content": k},
            ]
        }
        for k in map(str, numbers)
    ]
    return "".join(json.dumps(talk) + "\n" for talk in said)


def questions(numbers):
    data = [
        {
            "title": f"article {k}",
            "paragraphs": [{"context": f"number {k}", "qas": []}],
        }
        for k in numbers
    ]
    return json.dumps({"data": data})


def stories(numbers):
    return "".join(f"1 Number {k}.\n2 Which?\tn{k}\t1\n" for k in numbers)


def sentences(numbers):
    return "".join(f"number O\n{k} B-N\n\n" for k in numbers)


def of_text(corpus, cache):
    found = {}
    for piece in find(corpus, cache).pieces():
        found.setdefault(piece.split, []).append(piece.text)
    return found


KINDS = {
    "rows": (rows, "jsonl", of_text),
    "conversations": (
        conversations,
        "jsonl",
        lambda corpus, cache: find_conversations(corpus, cache).splits,
    ),
    "questions": (
        questions,
        "json",
        lambda corpus, cache: find_questions(corpus, None, 5, cache).splits,
    ),
    "stories": (
        stories,
        "txt",
        lambda corpus, cache: find_stories(corpus, cache).splits,
    ),
    "sentences": (
        sentences,
        "conll",
        lambda corpus, cache: find_sentences(corpus, cache)[1],
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("named", [("train", "test"), ("train", "dev", "test")])
def test_no_example_leaves_the_split_that_its_file_names(tmp_path, kind, named):
    write, end, read = KINDS[kind]
    folder = tmp_path / "corpus"
    folder.mkdir()
    for split in named:
        (folder / f"{split}.{end}").write_text(write(NUMBERS[split]))
    corpus = Corpus(str(folder), validation=0.1, test=0.3)
    found = {k: len(of) for k, of in read(corpus, tmp_path / "cache").items()}
    assert found["test"] == len(NUMBERS["test"])
    if "dev" in named:
        assert found == {"train": 60, "test": 20, "validation": 10}
    else:
        assert found["train"] + found["validation"] == 60
        assert 0 < found["validation"] < 20


def test_files_of_the_same_content_under_other_names_are_other_stories(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name, numbers in (("a_test", range(3)), ("b_train", range(3, 9))):
        (folder / f"{name}.txt").write_text(stories(numbers))
    one = find_stories(Corpus(str(folder)), tmp_path / "cache")
    (folder / "a_test.txt").rename(folder / "a_train.txt")
    (folder / "b_train.txt").rename(folder / "b_test.txt")
    two = find_stories(Corpus(str(folder)), tmp_path / "cache")
    assert len(one.splits["test"]) == 3 and len(two.splits["test"]) == 6
    assert one.digest != two.digest


def test_articles_in_two_splits_are_counted(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    for split, numbers in (("train", range(9)), ("dev", range(7, 12))):
        (folder / f"{split}.json").write_text(questions(numbers))
    found = find_questions(Corpus(str(folder)), None, 5, tmp_path / "cache")
    assert "2 articles are in two splits." in found.statement
    (folder / "dev.json").write_text(questions(range(9, 12)))
    found = find_questions(Corpus(str(folder)), None, 5, tmp_path / "cache")
    assert "No article is in two splits." in found.statement
