"""Texts with labels: each keeps its own, in the rows that it fits."""

import json

import numpy as np
import pytest

from lm_jax.data import Labelled
from lm_jax.errors import UserError
from lm_jax.text import Corpus
from lm_jax.tokenizers import Words
from lm_jax.tokenizers.words import WordTokenizer

WORDS = ("red", "green", "blue")


def write_table(path, rows=60):
    """Lines of one colour, as often as the line is long; the colour is the label."""
    with path.open("w") as file:
        for number in range(rows):
            word = WORDS[number % 3]
            text = " ".join([word] * (1 + number % 7) + [f"n{number}"])
            file.write(json.dumps({"text": text, "kind": word}) + "\n")


@pytest.fixture
def table(tmp_path):
    write_table(tmp_path / "table.jsonl")
    return tmp_path / "table.jsonl"


def prepared(path, cache, **fields):
    data = Labelled(Corpus(str(path)), Words(), "kind", (2, 4, 6), **fields)
    return data.prepare(cache)


def test_each_text_keeps_its_label_and_is_padded_to_the_length_it_fits(table, tmp_path):
    made = prepared(table, tmp_path / "cache")
    assert made.labels == ("red", "blue", "green")  # the shortest first
    order, seen = made.order(0, "12 tokens"), 0
    for step in range(int(order.steps_per_epoch)):
        batch = order.batch(step)
        for ids, segments, label, real in zip(*batch.values(), strict=True):
            if not real:
                continue
            seen += 1
            words = made.tokenizer.symbols(ids[segments > 0])
            assert words[0] == made.labels[label]
            # Cut at 6 tokens; a text of n tokens is in the shortest row that holds it.
            assert len(ids) == next(n for n in (2, 4, 6) if len(words) <= n)
    assert seen == len(made.splits["train"].documents) - 1
    cut = [line for line in made.statement.splitlines() if "are cut to 6" in line]
    longer = {n: int((np.diff(t.documents) > 6).sum()) for n, t in made.splits.items()}
    of = ", ".join(f"{count} of {name}" for name, count in longer.items() if count)
    assert cut == [f"{sum(longer.values())} texts are cut to 6 tokens: {of}."]
    assert "Labels of the training split: " in made.statement
    whole = Labelled(Corpus(str(table), validation=0.0), Words(), "kind")
    said = whole.prepare(tmp_path / "cache").statement
    assert "\nLabels: " in said and "the training split" not in said


def test_so_many_texts_are_learnt_from_and_no_evaluation_changes(table, tmp_path):
    whole = prepared(table, tmp_path / "cache")

    def learnt(limit):
        made = prepared(table, tmp_path / "cache", limit=limit)
        order, texts = made.order(0, "12 tokens"), {}
        for step in range(int(order.steps_per_epoch)):
            batch = order.batch(step)
            for ids, segments, label, real in zip(*batch.values(), strict=True):
                if real:
                    text = " ".join(made.tokenizer.symbols(ids[segments > 0]))
                    texts[text] = made.labels[label]
        return made, texts

    made, ten = learnt(10)
    assert len(ten) == 10
    assert ten.items() < learnt(20)[1].items() < learnt(None)[1].items()
    assert all(text.startswith(label) for text, label in ten.items())
    assert "10 of the" in made.statement
    assert made.digest != whole.digest
    a, b = (m.evaluation("validation", 2) for m in (made, whole))
    assert len(a) == len(b)
    for k in range(len(a)):
        for name in a[k]:
            np.testing.assert_array_equal(a[k][name], b[k][name])
    with pytest.raises(UserError, match="data.limit=1,000: the training split has"):
        prepared(table, tmp_path / "cache", limit=1000)
    with pytest.raises(UserError, match="limit"):
        prepared(table, tmp_path / "cache", limit=0)


def test_an_evaluation_has_the_labels_of_its_split(table, tmp_path):
    made = prepared(table, tmp_path / "cache")
    windows, seen = made.evaluation("validation", 2), 0
    for k in range(len(windows)):
        batch = windows[k]
        for ids, _, label, real in zip(*batch.values(), strict=True):
            if real:
                seen += 1
                assert made.tokenizer.symbols(ids[:1]) == [made.labels[label]]
    assert seen == len(made.splits["validation"].documents) - 1 > 0


def test_trec_lines_begin_with_their_label(tmp_path, monkeypatch):
    folder = tmp_path / "data" / "trec"
    folder.mkdir(parents=True)
    lines = [f"{k % 2} what is {WORDS[k % 2]} {k} ?" for k in range(40)]
    # As in the real file, a line or two is Latin-1.
    text = "\n".join([*lines, "1 what is green Itaip\xfa ?"])
    (folder / "TREC.train.all").write_bytes(text.encode("latin-1"))
    (folder / "TREC.test.all").write_text("1 what is green now ?\n")
    monkeypatch.setenv("LM_JAX_DATA", str(tmp_path / "data"))
    made = Labelled(Corpus("trec"), lengths=(8,)).prepare(tmp_path / "cache")
    (batch,) = (made.evaluation("test", 1)[0],)
    assert made.labels == ("0", "1") and batch["label"].tolist() == [1]
    batch = made.order(0, 36).batch(0)
    for ids, label in zip(batch["inputs"], batch["label"], strict=True):
        words = made.tokenizer.symbols(ids)
        if words[0] == "what":  # rows of zeros follow where there are fewer
            assert WORDS[label] in words
    assert np.isin(["red", "green"], made.tokenizer.symbols(range(9))).all()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: Labelled(Corpus(str(p)), label="king"), "no column 'king'.*kind"),
        (lambda p: Labelled(Corpus("names")), "has no labels"),
        (lambda p: Labelled(lengths=()), "the shortest first"),
        (lambda p: Labelled(lengths=(8, 8)), "the shortest first"),
        (lambda p: Labelled(lengths=(0, 8)), "1 token or more"),
    ],
)
def test_what_has_no_labels_is_refused(make, said, table, tmp_path):
    with pytest.raises(UserError, match=said):
        make(table).prepare(tmp_path / "cache")


def test_labels_that_training_lacks_are_refused(tmp_path):
    for split, kind in (("train", "a"), ("train", "b"), ("test", "c")):
        with (tmp_path / f"{split}.jsonl").open("a") as file:
            for number in range(20):
                row = {"text": f"{kind} text {number}", "kind": kind}
                file.write(json.dumps(row) + "\n")
    (tmp_path / "tables").mkdir()
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").rename(tmp_path / "tables" / f"{split}.jsonl")
    with pytest.raises(UserError, match="'test' has labels that training lacks: c"):
        prepared(tmp_path / "tables", tmp_path / "cache")


def test_what_cannot_be_read_or_told_apart_is_refused(tmp_path):
    path, cache = tmp_path / "table.jsonl", tmp_path / "cache"

    def refused(rows, said, data=Labelled(Corpus(str(path)), Words(), "kind", (4,))):
        lines = [json.dumps({"text": t, "kind": k}) + "\n" for t, k in rows]
        path.write_text("".join(lines))
        with pytest.raises(UserError, match=said):
            data.prepare(cache)

    some = [(f"a {k}", "x") for k in range(30)]
    refused(some, "has 1 label .x.: there is nothing to tell apart")
    refused([*some, ("", "y")], "line 31 has no text in the column 'text'")
    refused([*some, (" \t", "y")], "line 31 has no text in the column 'text'")
    refused([*some, ("b", 0), ("c", 0.0)], "labels '0' and '0.0' are one value")
    refused([*some, ("b", 1), ("c", True)], "labels '1' and 'True' are one value")
    refused([*some, ("b", "y "), ("c", "y")], "labels 'y' and 'y ' are one value")
    refused([*some, ("b", "e\u0301"), ("c", "\xe9")], "are one value, written in two")
    refused([*some, ("b", "y"), ("c", "Y")], "'Y' and 'y' differ in capitals alone")
    other = Labelled(Corpus(str(path)), Words(), "kidn", (4,))
    refused(some, "no column 'kidn'. Did you mean 'kind'", other)
    named = Labelled(Corpus(str(path)), Words(), "kind", (4,), classes=("y", "z"))
    two = [("a", "x"), ("b", "y"), *((f"a {k}", "x") for k in range(30))]
    for limit, said in ((1, "the row that is drawn has"), (3, "the 3 rows that are")):
        few = Labelled(Corpus(str(path)), Words(), "kind", (4,), limit=limit)
        refused(two, f"data.limit={limit}: {said} .*the label x, and there is", few)
    refused(
        some,
        r"of the classes: x \(first at text 1 of it\). The classes are: y, z",
        named,
    )


def test_capitals_tell_classes_apart_that_are_named(tmp_path):
    path = tmp_path / "table.jsonl"
    rows = [{"text": f"a {k}", "kind": "xX"[k % 2]} for k in range(30)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = Labelled(Corpus(str(path)), Words(), "kind", (4,), classes=("x", "X"))
    assert data.prepare(tmp_path / "cache").labels == ("X", "x")


def test_a_text_of_which_no_token_is_left_is_refused(table, tmp_path, monkeypatch):
    """Some tokenizers drop what they take for no text."""
    encode_all = WordTokenizer.encode_all

    def without(self, texts):
        return encode_all(self, ["" if text.endswith("n0") else text for text in texts])

    monkeypatch.setattr(WordTokenizer, "encode_all", without)
    with pytest.raises(UserError, match=r"Text 1 of the split 'train' has no token"):
        prepared(table, tmp_path / "cache")


def test_labels_are_mapped_by_name(table, tmp_path):
    """In whatever order classes are named or met, a label has the same number."""
    whole = prepared(table, tmp_path / "cache")
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(reversed(lines)))
    for classes in ((), ("blue", "green", "red"), ("green", "red", "blue")):
        made = prepared(table, tmp_path / "cache", classes=classes)
        assert made.labels == whole.labels
        windows = made.evaluation("validation", 1)
        for row in map(windows.row, range(windows.count)):
            first = made.tokenizer.symbols(row["inputs"][:1])
            assert first == [made.labels[row["label"]]]
    few = prepared(table, tmp_path / "cache", classes=("red", "grey", "green", "blue"))
    assert few.labels == ("red", "blue", "grey", "green")


def test_examples_of_a_batch_are_named_by_their_place_in_the_split(table, tmp_path):
    made = prepared(table, tmp_path / "cache")
    bounds, ids = made.splits["train"].documents, made.splits["train"].ids
    windows, seen = made.evaluation("train", 3), []
    for k in range(len(windows)):
        numbers, batch = windows.numbers(k), windows[k]
        for number, row in zip(numbers, batch["inputs"], strict=False):
            text = ids[bounds[number] : bounds[number + 1]][: len(row)]
            np.testing.assert_array_equal(row[: len(text)], text)
        seen += numbers.tolist()
    assert sorted(seen) == list(range(len(bounds) - 1))
