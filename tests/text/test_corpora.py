"""Corpora are found, split as is said, and complained of in one message."""

import gzip
import hashlib
import json
import os
import time
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.errors import UserError
from lm_jax.text import Corpus
from lm_jax.text.corpora import find
from lm_jax.text.reading import blocks, cut_documents, cut_safely, measure
from lm_jax.text.splitting import Shares, by_digest, by_position
from tests.properties import quick


def splits_of(corpus, cache):
    """The documents of each split of a corpus."""
    found = {}
    for piece in find(corpus, cache).pieces():
        documents = found.setdefault(piece.split, [""])
        documents[-1] += piece.text
        if piece.last:
            documents.append("")
    return {split: documents[:-1] for split, documents in found.items()}


def test_tiny_shakespeare_has_nanogpts_split(tmp_path):
    splits = splits_of(Corpus(), tmp_path)
    (train,), (validation,) = splits["train"], splits["validation"]
    text = train + validation
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert digest == "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
    assert len(train) == int(0.9 * len(text)) == 1_003_854


def test_poems_are_title_author_text(tmp_path):
    splits = splits_of(Corpus("tangshi300"), tmp_path)
    poems = [*splits["train"], *splits["validation"]]
    assert len(poems) == 366
    assert any(
        poem.startswith("在嶽詠蟬\n駱賓王\n西陸蟬聲唱，南冠客思侵。") for poem in poems
    )


def test_names_are_documents(tmp_path):
    splits = splits_of(Corpus("names", test=0.2), tmp_path)
    sizes = {split: len(names) for split, names in splits.items()}
    assert sum(sizes.values()) == 32_033
    assert abs(sizes["validation"] / 32_033 - 0.1) < 0.01
    assert abs(sizes["test"] / 32_033 - 0.2) < 0.01
    assert "emma" in splits["train"] + splits["validation"] + splits["test"]


@quick
@given(
    st.lists(st.text(min_size=1), min_size=1),
    st.sampled_from([0.0, 0.1, 0.25, 0.4]),
    st.sampled_from([0.0, 0.1, 0.5]),
)
def test_a_text_is_split_by_position(parts, validation, test):
    whole = "".join(parts)
    shares = Shares(validation, test)
    pieces = list(by_position(iter(parts), len(whole), shares))
    assert "".join(piece.text for piece in pieces) == whole
    order = [split for split, _ in groupby(piece.split for piece in pieces)]
    assert order == [s for s in ("train", "validation", "test") if s in order]
    train = sum(len(piece.text) for piece in pieces if piece.split == "train")
    assert train == int(len(whole) * (1 - validation - test))
    assert [piece.last for piece in pieces].count(True) == len(order)


@quick
@given(st.lists(st.text(min_size=1)), st.text(min_size=1))
def test_another_document_moves_none(documents, added):
    def drawn(texts):
        return [(p.text, p.split) for p in by_digest(iter(texts), "", Shares(0.3, 0.2))]

    before, after = drawn(documents), drawn([added, *documents])
    assert after[1:] == before


@quick
@given(st.text(st.sampled_from("ab \n月"), max_size=50), st.data())
def test_blocks_are_cut_again_at_safe_places(text, data):
    cut = data.draw(st.integers(0, len(text)))
    pieces = list(cut_safely([text[:cut], text[cut:]]))
    assert "".join(pieces) == text
    for left, right in zip(pieces[:-1], pieces[1:], strict=True):
        assert left.endswith("\n") or right.startswith(" ")


@quick
@given(st.lists(st.text(st.sampled_from("ab月"), max_size=5)), st.data())
def test_documents_are_cut_across_blocks(documents, data):
    text = "<|x|>".join(documents)
    cut = data.draw(st.integers(0, len(text)))
    found = list(cut_documents([text[:cut], text[cut:]], "<|x|>"))
    assert found == [document for document in documents if document]


def test_a_folder_is_a_document_a_file(tmp_path):
    folder = tmp_path / "books"
    folder.mkdir()
    for i in range(60):
        (folder / f"{i}.txt").write_text(f"book {i} 紅樓夢\r\nend", newline="")
    splits = splits_of(Corpus(str(folder), validation=0.3), tmp_path / "cache")
    assert len(splits["train"]) + len(splits["validation"]) == 60
    assert 5 < len(splits["validation"]) < 40
    assert "book 7 紅樓夢\nend" in splits["train"] + splits["validation"]


def test_files_named_after_splits_keep_them(tmp_path):
    for name in ("train", "valid", "test"):
        with gzip.open(tmp_path / f"my.{name}.txt.gz", "wt") as file:
            file.write(f"{name} text\n")
    splits = splits_of(Corpus(str(tmp_path)), tmp_path / ".cache")
    assert splits == {
        "train": ["train text\n"],
        "validation": ["valid text\n"],
        "test": ["test text\n"],
    }


def write_rows(folder, names, rows=40):
    """Write jsonl files whose rows say which file they are of."""
    for name in names:
        texts = [json.dumps({"text": f"{name} {i}"}) for i in range(rows)]
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("\n".join(texts))


@pytest.mark.slow
@pytest.mark.parametrize("names", ["train-0 train-1 test-0", "train/a train/b test/a"])
def test_a_test_split_is_kept_and_validation_drawn_from_train(tmp_path, names):
    write_rows(tmp_path / "in", [f"{name}.jsonl" for name in names.split()])
    corpus = Corpus(str(tmp_path / "in"), validation=0.3, test=0.3)
    splits = splits_of(corpus, tmp_path / "cache")
    assert len(splits["test"]) == 40
    assert all(text.startswith("test") for text in splits["test"])
    held, train = splits["validation"], splits["train"]
    assert len(held + train) == 80 and 5 < len(held) < 50
    assert all(text.startswith("train") for text in held + train)
    assert "its own test split. Its train" in find(corpus, tmp_path / "cache").statement


@pytest.mark.parametrize("tests", [["test.txt"], ["test/a.txt", "test/b.txt"]])
def test_one_text_to_train_on_beside_a_test_split_is_cut_by_position(tmp_path, tests):
    for name in ("train.txt", *tests):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{name[:5]}\n" * 10)
    corpus = Corpus(str(tmp_path), validation=0.2, test=0.2)
    splits = splits_of(corpus, tmp_path / ".cache")
    assert splits["train"] == ["train\n" * 8]
    assert splits["validation"] == ["train\n" * 2]
    assert len(splits["test"]) == len(tests) and "train" not in splits["test"][0]
    assert "first 48 characters" in find(corpus, tmp_path / ".cache").statement


@pytest.mark.slow
def test_a_file_is_of_the_split_that_its_folder_names(tmp_path):
    write_rows(tmp_path, ["train/test-1.jsonl", "Valid/a.jsonl", "test/a.jsonl"], 2)
    splits = splits_of(Corpus(str(tmp_path)), tmp_path / ".cache")
    assert splits["train"][0].startswith("train/")
    assert splits["validation"][0].startswith("Valid/")
    assert splits["test"][0].startswith("test/")
    # What all files lie in tells none from another.
    write_rows(tmp_path / "dev", ["train.jsonl", "valid.jsonl"], 2)
    splits = splits_of(Corpus(str(tmp_path / "dev")), tmp_path / ".cache")
    assert {split: len(rows) for split, rows in splits.items()} == {
        "train": 2,
        "validation": 2,
    }


def test_files_without_a_split_beside_those_with_one_are_named(tmp_path):
    for name in ("train.txt", "valid.txt", "test.txt", "README.md"):
        (tmp_path / name).write_text("text")
    with pytest.raises(UserError, match="after a split, and .*README.md after none"):
        find(Corpus(str(tmp_path)), tmp_path / ".cache")
    for i in range(5):
        (tmp_path / f"book{i}.txt").write_text("text")
    with pytest.raises(UserError, match="book0.txt, .*book1.txt and 3 more after none"):
        find(Corpus(str(tmp_path)), tmp_path / ".cache")


def test_splits_without_train_are_none(tmp_path):
    for name in ("valid.txt", "test.txt"):
        (tmp_path / name).write_text(f"{name} text")
    statement = find(Corpus(str(tmp_path)), tmp_path / ".cache").statement
    assert "Split by a digest" in statement


def test_tables_are_a_document_a_row(tmp_path):
    texts = [f"poem {i}, 明月\nline" for i in range(50)] + [""]
    table = tmp_path / "poems.jsonl"
    table.write_text("".join(json.dumps({"id": 1, "poem": t}) + "\n" for t in texts))
    splits = splits_of(Corpus(str(table), column="poem"), tmp_path / "cache")
    assert sorted(splits["train"] + splits["validation"]) == sorted(texts[:-1])
    with pytest.raises(UserError, match=r"no column 'text'.*id, poem"):
        splits_of(Corpus(str(table)), tmp_path / "cache")
    with pytest.raises(UserError, match="column 'id' of .* holds no text"):
        splits_of(Corpus(str(table), column="id"), tmp_path / "cache")


def test_csv_and_parquet(tmp_path):
    import datasets

    texts = {"text": [f'a "b", {i}' for i in range(20)]}
    table = datasets.Dataset.from_dict(texts)
    table.to_parquet(str(tmp_path / "t.parquet"))
    table.to_csv(str(tmp_path / "t.csv"))
    for name in ("t.parquet", "t.csv"):
        splits = splits_of(Corpus(str(tmp_path / name)), tmp_path / "cache")
        assert sorted(sum(splits.values(), [])) == sorted(texts["text"])


def test_a_parquet_file_that_was_cut_short(tmp_path):
    import datasets

    path = tmp_path / "t.parquet"
    datasets.Dataset.from_dict({"text": ["a", "b"]}).to_parquet(str(path))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"t.parquet cannot be read as parquet: .*"):
        splits_of(Corpus(str(path)), tmp_path / "cache")


def test_a_line_that_is_no_poem_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("LM_JAX_DATA", str(tmp_path))
    path = tmp_path / "poetry" / "quantangshi_trad.tsv.gz"
    path.parent.mkdir()
    with gzip.open(path, "wt") as file:
        file.write("李白\t靜夜思\t床前明月光\n\n李白\t床前明月光\n")
    with pytest.raises(UserError, match=r"trad.tsv.gz, line 3: 2 fields .* has 3"):
        splits_of(Corpus("quantangshi"), tmp_path / "cache")


def test_hub_data_are_kept_and_read_without_a_network(tmp_path, monkeypatch):
    import datasets

    from lm_jax.text import tables

    asked = []

    def load_dataset(source, config, cache_dir):
        asked.append((source, config))
        rows = {"text": [f"row {i}" for i in range(100)], "label": [0] * 100}
        table = datasets.Dataset.from_dict(rows)
        return datasets.DatasetDict(train=table, test=table.select(range(5)))

    monkeypatch.setattr(tables, "_network", lambda endpoint: True)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    corpus = Corpus("owner/data", config="plain")
    first = splits_of(corpus, tmp_path)
    assert asked == [("owner/data", "plain")]
    assert splits_of(corpus, tmp_path) == first
    assert len(asked) == 1
    assert len(first["test"]) == 5
    assert len(first["train"]) + len(first["validation"]) == 100
    assert len(first["validation"]) > 2
    assert "test" in find(corpus, tmp_path).statement


def test_hub_data_without_a_network(tmp_path, monkeypatch):
    from lm_jax.text import tables

    monkeypatch.setattr(tables, "_network", lambda endpoint: False)
    with pytest.raises(UserError, match=r"'owner/data' cannot be fetched.*Shipped:"):
        find(Corpus("owner/data"), tmp_path)


def test_an_unknown_corpus(tmp_path, monkeypatch):
    monkeypatch.delenv("LM_JAX_DATA", raising=False)
    with pytest.raises(UserError, match="Did you mean 'tinyshakespeare'"):
        find(Corpus("tinyshakespear"), tmp_path)
    with pytest.raises(UserError, match=r"LM_JAX_DATA is not set.*Shipped: .*names"):
        find(Corpus("ptb"), tmp_path)
    monkeypatch.setenv("LM_JAX_DATA", str(tmp_path))
    with pytest.raises(UserError, match="No corpus 'ptb' here: it is not in"):
        find(Corpus("ptb"), tmp_path)


def test_a_missing_file(tmp_path):
    (tmp_path / "poems.txt").write_text("x")
    with pytest.raises(UserError, match=r"no file or folder.*mean 'poems.txt'"):
        find(Corpus(str(tmp_path / "poem.txt")), tmp_path)


def test_an_empty_file_and_an_empty_folder(tmp_path):
    (tmp_path / "a.txt").touch()
    with pytest.raises(UserError, match="a.txt is empty"):
        find(Corpus(str(tmp_path / "a.txt")), tmp_path / "cache")
    (tmp_path / "b").mkdir()
    with pytest.raises(UserError, match="has no files"):
        find(Corpus(str(tmp_path / "b")), tmp_path / "cache")


@pytest.mark.parametrize("good", [0, 10, (1 << 20) - 1, (1 << 20) + 5])
@pytest.mark.parametrize("bad", [b"\xffx", b"\xe6\x9c", b"\xe6\x9cx"])
def test_not_utf8_is_told_with_the_offset(tmp_path, good, bad):
    path = tmp_path / "a.txt"
    path.write_bytes(b"a" * good + bad)
    with pytest.raises(UserError, match=f"not UTF-8: the byte at offset {good} "):
        find(Corpus(str(path)), tmp_path / "cache")


def test_a_byte_order_mark_and_line_ends(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "月\r\nb\rc\n".encode())
    assert "".join(blocks(path)) == "月\nb\nc\n"


def test_a_damaged_gzip_file(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(os.urandom(1000).hex().encode())[:-200])
    with pytest.raises(UserError, match="damaged"):
        find(Corpus(str(path)), tmp_path / "cache")


@pytest.mark.parametrize("shares", [(0.6, 0.4), (-0.1, 0.0), (0.0, 1.5)])
def test_shares_that_leave_nothing(shares):
    with pytest.raises(UserError, match="below 1"):
        Corpus(validation=shares[0], test=shares[1])


def test_a_file_is_measured_once_until_it_changes(tmp_path, monkeypatch):
    from lm_jax.text import reading

    path = tmp_path / "a.txt"
    path.write_text("abc")
    first = measure(path, tmp_path / "cache")
    assert first["characters"] == first["bytes"] == 3
    with monkeypatch.context() as patch:
        patch.setattr(reading, "_measure", None)  # Calling it would fail.
        assert measure(path, tmp_path / "cache") == first
    path.write_text("abd")
    os.utime(path, ns=(0, time.time_ns() + 1))
    assert measure(path, tmp_path / "cache")["sha256"] != first["sha256"]
