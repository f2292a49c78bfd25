"""A folder's texts are read once each, and each is of the split that it names."""

import bz2
import gzip
import json
import lzma
import os

import pytest

from lm_jax.errors import UserError
from lm_jax.text import Corpus, find
from tests.text import splits_of


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


@pytest.mark.parametrize(
    "names",
    [
        "wiki.training.jsonl wiki.development.jsonl wiki.testing.jsonl",
        "train.jsonl devel.jsonl test.jsonl",
        "eng.train.jsonl eng.testa.jsonl eng.testb.jsonl",
        "train_set/a.jsonl val_set/a.jsonl test_set/a.jsonl",
    ],
)
def test_other_names_of_splits(tmp_path, names):
    """Else what is to be scored trains, as a digest says."""
    write_rows(tmp_path / "in", names.split())
    splits = splits_of(Corpus(str(tmp_path / "in")), tmp_path / "cache")
    found = {split: {row.split()[0] for row in rows} for split, rows in splits.items()}
    assert list(map(len, splits.values())) == [40] * 3
    ours = ("train", "validation", "test")
    assert found == {s: {n} for s, n in zip(ours, names.split(), strict=True)}


def test_words_that_may_name_a_split_name_none_beside_others(tmp_path):
    write_rows(tmp_path / "in", ["training.jsonl", "development.jsonl", "usage.jsonl"])
    text = find(Corpus(str(tmp_path / "in")), tmp_path / "cache")
    assert "Split by a digest" in text.statement


def test_files_without_a_split_beside_those_with_one_are_named(tmp_path):
    for name in ("train.txt", "valid.txt", "test.txt", "notes.md"):
        (tmp_path / name).write_text("text")
    with pytest.raises(UserError, match="after a split, and .*notes.md after none"):
        find(Corpus(str(tmp_path)), tmp_path / ".cache")
    for i in range(5):
        (tmp_path / f"book{i}.txt").write_text("text")
    with pytest.raises(UserError, match="book0.txt, .*book2.txt and 3 more after none"):
        find(Corpus(str(tmp_path)), tmp_path / ".cache")


def test_splits_without_train_are_none(tmp_path):
    for name in ("valid.txt", "test.txt"):
        (tmp_path / name).write_text(f"{name} text")
    statement = find(Corpus(str(tmp_path)), tmp_path / ".cache").statement
    assert "Split by a digest" in statement


PLAIN = "a line of text\n" * 30
PACK = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def write(path, text=PLAIN):
    path.parent.mkdir(parents=True, exist_ok=True)
    end = path.suffix
    path.write_bytes(PACK[end](text.encode()) if end in PACK else text.encode())


@pytest.mark.parametrize("end", PACK)
@pytest.mark.parametrize("name", ["x.txt", "train.txt", "inner/x.md", "x.jsonl"])
def test_a_text_beside_its_compressed_twin_is_read_once(tmp_path, end, name):
    rows = "".join(json.dumps({"text": f"row {i}"}) + "\n" for i in range(40))
    text = rows if "jsonl" in name else PLAIN
    write(tmp_path / "one" / name, text)
    write(tmp_path / "two" / name, text)
    write(tmp_path / "two" / f"{name}{end}", text)
    one = find(Corpus(str(tmp_path / "one")), tmp_path / "cache")
    two = find(Corpus(str(tmp_path / "two")), tmp_path / "cache")
    assert two.digest == one.digest and list(two.pieces()) == list(one.pieces())
    said = f"Left out as copies under another compression: {name.split('/')[-1]}{end}."
    assert said in two.statement
    write(tmp_path / "two" / f"{name}{end}", text + text)
    with pytest.raises(UserError, match="hold different texts under one name"):
        find(Corpus(str(tmp_path / "two")), tmp_path / "cache")


def test_a_table_in_two_formats_is_refused(tmp_path):
    write(tmp_path / "in/a.csv", "text\na\n")
    write(tmp_path / "in/a.jsonl", '{"text": "a"}\n')
    with pytest.raises(UserError, match="a.csv and a.jsonl are one table in two"):
        find(Corpus(str(tmp_path / "in")), tmp_path / "cache")


@pytest.mark.parametrize("table", ["csv", "txt"])
def test_what_lies_beside_a_corpus_is_left_out_and_said(tmp_path, table):
    names = ["README.md", "LICENSE", "readme-en.txt", ".DS_Store", "dataset_info.json"]
    names += ["_SUCCESS", "a.txt~", "a.jsonl.bak", "a.txt.sha256", "dataset_dict.json"]
    names += [".ipynb_checkpoints/a-checkpoint.csv", ".git/x/y"]
    write(tmp_path / f"in/part.{table}", "text\n" + "a\n" * 9)
    for name in names:
        write(tmp_path / "in" / name, "nothing to learn\n")
    corpus = Corpus(str(tmp_path / "in"), validation=0.0)
    text = find(corpus, tmp_path / "cache")
    whole = "".join(piece.text for piece in text.pieces())
    assert whole == ("a" * 9 if table == "csv" else "text\n" + "a\n" * 9)
    said = (
        "Left out: .DS_Store, .git, .ipynb_checkpoints, LICENSE, README.md and 7 more"
    )
    assert said in text.statement
    (tmp_path / f"in/part.{table}").unlink()
    with pytest.raises(UserError, match=r"has no files .*but .*README.md"):
        find(corpus, tmp_path / "cache")


def test_files_that_hold_the_same_are_named(tmp_path):
    """A download that came twice would weigh twice, and nobody would know."""
    corpus = Corpus(str(tmp_path / "in"))
    for name in ("a.txt", "a (1).txt", "b.txt"):
        write(tmp_path / "in" / name, "b" if name == "b.txt" else "a")
    said = find(corpus, tmp_path / "cache").statement
    assert "read as often as they stand there: a.txt (a (1).txt)." in said
    (tmp_path / "in" / "a (1).txt").unlink()
    assert "as often" not in find(corpus, tmp_path / "cache").statement


def test_tables_beside_plain_text_are_named(tmp_path):
    for name in ("a.jsonl", "notes.txt", "b.md"):
        write(tmp_path / "in" / name, "{}\n")
    with pytest.raises(UserError, match="a.jsonl is a table, b.md, notes.txt none"):
        find(Corpus(str(tmp_path / "in")), tmp_path / "cache")


def test_links_to_folders_are_followed_and_nothing_is_read_twice(tmp_path):
    write(tmp_path / "elsewhere/b.txt", "second\n")
    write(tmp_path / "in/a.txt", "first\n")
    (tmp_path / "in/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/back").symlink_to(tmp_path / "in")
    (tmp_path / "elsewhere/again").symlink_to(tmp_path / "elsewhere")
    corpus = Corpus(str(tmp_path / "in"), validation=0.0)
    found = splits_of(corpus, tmp_path / "cache")
    assert found == {"train": ["first\n", "second\n"]}
    (tmp_path / "in/gone.txt").symlink_to("nowhere")
    with pytest.raises(UserError, match="gone.txt cannot be read: No such file"):
        find(corpus, tmp_path / "cache")


def test_what_is_no_file_is_named(tmp_path):
    (tmp_path / "in").mkdir()
    os.mkfifo(tmp_path / "in/pipe")
    for path in (tmp_path / "in/pipe", tmp_path / "in", "/dev/null"):
        with pytest.raises(UserError, match="is no regular file but a pipe or device"):
            find(Corpus(str(path)), tmp_path / "cache")


PTB = ["ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"]


@pytest.fixture
def ptb(tmp_path, monkeypatch):
    monkeypatch.setenv("LM_JAX_DATA", str(tmp_path / "data"))
    for name in PTB:
        write(tmp_path / "data/ptb" / name, f" {name} \n no it was n't \n")
    return tmp_path / "data/ptb"


def test_a_known_corpus_is_the_files_that_it_names(ptb, tmp_path):
    alone = find(Corpus("ptb"), tmp_path / "cache")
    for name in PTB:
        write(ptb / f"{name}.gz", f" {name} \n no it was n't \n")
        write(ptb / name.replace("ptb.", "ptb.char."), "c h a r s\n")
    for name in ("README", ".DS_Store", ".ipynb_checkpoints/ptb.train.txt", "x.zip"):
        write(ptb / name)
    text = find(Corpus("ptb"), tmp_path / "cache")
    assert text.digest == alone.digest
    assert splits_of(Corpus("ptb"), tmp_path / "cache") == {
        "test": ["ptb.test.txt\nno it was n't\n"],
        "train": ["ptb.train.txt\nno it was n't\n"],
        "validation": ["ptb.valid.txt\nno it was n't\n"],
    }
    assert "compression: ptb.train.txt.gz, ptb.valid.txt.gz" in text.statement
    assert "Blanks around its lines are dropped" in text.statement
    (ptb / "ptb.valid.txt").unlink()
    assert find(Corpus("ptb"), tmp_path / "cache").digest == alone.digest
    write(ptb / "ptb.train.txt.gz", "another\n")
    with pytest.raises(UserError, match="ptb.train.txt.gz hold different texts"):
        find(Corpus("ptb"), tmp_path / "cache")


def test_a_known_corpus_that_is_not_whole_is_refused(ptb, tmp_path):
    (ptb / "ptb.valid.txt").unlink()
    (ptb / "ptb.test.txt").unlink()
    said = "lacks ptb.valid.txt, ptb.test.txt .* its path: .*ptb.train.txt"
    with pytest.raises(UserError, match=said):
        find(Corpus("ptb"), tmp_path / "cache")
    # By its path it is a text like any other, split by what is read of it.
    path = str(ptb / "ptb.train.txt")
    splits = splits_of(Corpus(path), tmp_path / "cache")
    assert "".join(s for (s,) in splits.values()) == (ptb / "ptb.train.txt").read_text()


def test_of_a_whole_text_and_its_beginning_the_whole_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("LM_JAX_DATA", str(tmp_path))
    write(tmp_path / "text8/text8.prefix.gz", " anarchism")
    corpus = Corpus("text8", validation=0.0)
    assert splits_of(corpus, tmp_path / "cache") == {"train": [" anarchism"]}
    write(tmp_path / "text8/text8", " anarchism originated")
    found = splits_of(corpus, tmp_path / "cache")
    assert found == {"train": [" anarchism originated"]}
    with pytest.raises(UserError, match="gutenberg.*its files are gutenberg.tar"):
        find(Corpus("gutenberg"), tmp_path / "cache")


def test_an_archive_where_the_files_should_be_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("LM_JAX_DATA", str(tmp_path))
    write(tmp_path / "chnsenticorp/all.zip", "PK")
    write(tmp_path / "chnsenticorp/notes", "none")
    with pytest.raises(UserError, match="But there is all.zip: unpack it there.$"):
        find(Corpus("chnsenticorp"), tmp_path / "cache")
