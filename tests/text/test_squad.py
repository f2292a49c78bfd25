"""Questions are read with their answers' places, and split by article."""

import gzip
import json

import pytest

from lm_jax.errors import UserError
from lm_jax.text import Corpus, find_questions
from lm_jax.text.squad import read_squad
from tests.text import splits_of

PASSAGE = "Ada Lovelace wrote notes on an engine in 1843."


def asked(name, *answers, impossible=False):
    rows = [{"text": text, "answer_start": start} for text, start in answers]
    row = {"id": name, "question": f"What is {name}?", "answers": rows}
    return row | ({"is_impossible": True} if impossible else {})


def article(title, *questions, text=PASSAGE):
    return {"title": title, "paragraphs": [{"context": text, "qas": [*questions]}]}


def write_squad(path, *articles):
    path.write_text(json.dumps({"version": "1.1", "data": articles}))
    return path


def test_answers_and_questions_without_any_are_read(tmp_path):
    path = write_squad(
        tmp_path / "a.json",
        article("Ada", asked("q1", ("1843", 41), ("in 1843", 38))),
        article("Bob", asked("q2", ("notes", 19), impossible=True)),
    )
    ada, bob = read_squad(path)
    assert (ada.article, ada.text, len(ada.questions)) == ("Ada", PASSAGE, 1)
    [question] = ada.questions
    assert (question.id, question.text) == ("q1", "What is q1?")
    assert [PASSAGE[a.start :][: len(a.text)] for a in question.answers] == [
        "1843",
        "in 1843",
    ]
    assert bob.questions[0].answers == ()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (asked("q9", ("1843", 40)), "q9: .*'1843' is not .* at 40; .* at 41"),
        (asked("q9", ("1843", -1)), "q9: .* at -1"),
        (asked("q9", ("1844", 41)), "q9: the answer '1844' is not in its passage"),
        (asked("q9", ("", 3)), "q9: the answer '' is not"),
        (asked("q1", ("1843", 41)), "question q1 comes twice"),
        ({"id": "q9", "question": " ", "answers": []}, "q9 is empty"),
        ({"id": "q9", "question": "?"}, "q9 has no 'answers'"),
        ({"question": "?"}, "article 'Ada' has no 'id'"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path, row, said):
    good = asked("q1", ("1843", 41))
    path = write_squad(tmp_path / "bad.json", article("Ada", good, row))
    with pytest.raises(UserError, match=said) as error:
        list(read_squad(path))
    assert "bad.json, article 'Ada'" in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "is no JSON"), ('{"id": 1}\n' * 2, "not an object a line")]
    + [("[]", "no 'data'"), ('{"data": [{"title": "A"}]}', "'A'")],
)
def test_other_files_are_refused(tmp_path, text, said):
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(UserError, match=said):
        list(read_squad(tmp_path / "bad.json"))


def test_cmrc_places_are_looked_for(tmp_path):
    rows = asked("q1", ("1843", -1), ("1844", -1), ("notes", 3))
    path = write_squad(tmp_path / "c.json", article("Ada", rows))
    [passage] = read_squad(path, found=True)
    starts = [answer.start for answer in passage.questions[0].answers]
    assert starts == [41, -1, 19]


def many(count):
    return [article(f"Title {k}", asked(f"q{k}", ("1843", 41))) for k in range(count)]


def test_each_article_is_in_the_test_split_of_one_fold(tmp_path):
    path = write_squad(tmp_path / "a.json", *many(13))
    tested, digests = [], set()
    for fold in range(5):
        found = find_questions(Corpus(str(path)), fold, 5, tmp_path / "cache")
        names = {s: {p.article for p in ps} for s, ps in found.splits.items()}
        assert set(names) == {"train", "validation", "test"}
        assert sum(map(len, names.values())) == len(set.union(*names.values())) == 13
        assert len(names["test"]) in (2, 3)
        tested += names["test"]
        digests.add(found.digest)
    assert sorted(tested) == sorted({f"Title {k}" for k in range(13)})
    assert len(digests) == 5
    with pytest.raises(UserError, match="2 articles are too few for 5 folds"):
        few = write_squad(tmp_path / "b.json", *many(2))
        find_questions(Corpus(str(few)), 0, 5, tmp_path / "cache")


def test_files_keep_the_splits_that_they_are_named_after(tmp_path):
    folder = tmp_path / "all"
    folder.mkdir()
    write_squad(folder / "train.json", *many(6))
    others = [article("Other", asked("q", ("1843", 41)))]
    write_squad(folder / "dev.json", *others)
    found = find_questions(Corpus(str(folder)), None, 5, tmp_path / "cache")
    assert {s: len(ps) for s, ps in found.splits.items()} == {
        "train": 6,
        "validation": 1,
    }
    with pytest.raises(UserError, match="keeps its own splits, and data.fold=0"):
        find_questions(Corpus(str(folder)), 0, 5, tmp_path / "cache")


def test_known_questions_are_found_and_their_passages_are_documents(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("LM_JAX_DATA", str(tmp_path))
    (tmp_path / "squad").mkdir()
    whole = json.dumps({"data": many(8)})
    (tmp_path / "squad" / "dev-v1.1.json.gz").write_bytes(gzip.compress(whole.encode()))
    found = find_questions(Corpus("squad"), 1, 5, tmp_path / "cache")
    assert sum(map(len, found.splits.values())) == 8
    documents = splits_of(Corpus("squad"), tmp_path / "cache")
    assert {PASSAGE} == {text for texts in documents.values() for text in texts}
    for source, said in (("ptb", "has no questions"), ("none.json", "no file or")):
        with pytest.raises(UserError, match=said):
            find_questions(Corpus(source), 0, 5, tmp_path / "cache")
