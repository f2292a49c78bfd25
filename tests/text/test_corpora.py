"""Corpora are found, split as is said, and complained of in one message."""

import gzip
import hashlib
import os
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.data import TokenStream
from lm_jax.errors import UserError
from lm_jax.text import Corpus, find
from lm_jax.text.pieces import Columns
from lm_jax.text.reading import Separator, blocks, cut_safely, measure
from lm_jax.text.splitting import Shares, by_digest, by_position
from lm_jax.tokenizers import Bytes
from tests.properties import quick
from tests.text import splits_of


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
    found = list(Separator("<|x|>").cut([text[:cut], text[cut:]]))
    assert found == [document for document in documents if document]


@quick
@given(
    st.text(st.sampled_from("ab月"), max_size=40),
    st.sampled_from(["a", "aa", "aba", "ab月a"]),
    st.integers(1, 9),
)
def test_so_they_are_in_blocks_of_any_size(text, separator, size):
    """A block may end in the middle of a separator, and one begin within another."""
    parts = [text[first : first + size] for first in range(0, len(text), size)]
    expected = [document for document in text.split(separator) if document]
    assert list(Separator(separator).cut(parts)) == expected


def test_a_folder_is_a_document_a_file(tmp_path):
    folder = tmp_path / "books"
    folder.mkdir()
    for i in range(60):
        (folder / f"{i}.txt").write_text(f"book {i} 紅樓夢\r\nend", newline="")
    splits = splits_of(Corpus(str(folder), validation=0.3), tmp_path / "cache")
    assert len(splits["train"]) + len(splits["validation"]) == 60
    assert 5 < len(splits["validation"]) < 40
    assert "book 7 紅樓夢\nend" in splits["train"] + splits["validation"]


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

    from lm_jax.text import hub

    asked = []

    def load_dataset(source, config, cache_dir):
        asked.append((source, config))
        rows = {"text": [f"row {i}" for i in range(100)], "label": [0] * 100}
        table = datasets.Dataset.from_dict(rows)
        return datasets.DatasetDict(train=table, test=table.select(range(5)))

    monkeypatch.setattr(hub, "_network", lambda endpoint: True)
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
    for damaged in (tmp_path / "datasets").rglob("data-*.arrow"):
        damaged.write_bytes(damaged.read_bytes()[:-99])
    with pytest.raises(UserError, match="cache of a Hugging Face data set is damaged"):
        splits_of(corpus, tmp_path)
    for damaged in (tmp_path / "datasets").rglob("state.json"):
        damaged.write_text("{")
    with pytest.raises(UserError, match="is damaged: .*Delete that folder"):
        find(corpus, tmp_path)


def test_hub_data_without_a_network(tmp_path, monkeypatch):
    from lm_jax.text import hub

    monkeypatch.setattr(hub, "_network", lambda endpoint: False)
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
    with pytest.raises(UserError, match=r"no file or folder.*mean '.*poems.txt'"):
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


def test_a_folder_named_like_a_known_corpus_is_not_taken_for_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in (Path("ptb"), Path("data/ptb")):
        folder.mkdir(parents=True)
        for split in ("train", "valid", "test"):
            (folder / f"ptb.{split}.txt").write_text(f"{folder} {split}\n")
    monkeypatch.delenv("LM_JAX_DATA", raising=False)
    with pytest.raises(UserError, match=r"'ptb' is another text: its path is \./ptb\."):
        find(Corpus("ptb"), Path("cache"))
    for data, said in (("data", True), (".", False)):
        monkeypatch.setenv("LM_JAX_DATA", data)
        text = find(Corpus("ptb"), Path("cache"))
        assert ("its path is ./ptb" in text.statement) == said


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
    assert measure(path, tmp_path / "cache")["sha256"] != first["sha256"]


def test_a_file_is_measured_where_no_record_can_be_kept(tmp_path):
    """Who may read the tokens of others there needs no more."""
    (tmp_path / "text.txt").write_text("a text")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "digests").touch()
    assert measure(tmp_path / "text.txt", tmp_path / "cache")["bytes"] == 6


def test_new_content_under_an_old_time_is_read_anew(tmp_path):
    """`touch -d`, `cp -p` and `rsync -t` set the time of writing as they like."""
    path, other, digests = tmp_path / "a.csv", tmp_path / "b.csv", set()
    for text in ("old", "new"):
        for file in (path, other):
            rows = "\n".join(f"{text}{i}" for i in range(30))
            if file is other:  # as rsync does: another file takes the name
                (tmp_path / "c").write_text(f"text\n{rows}")
                os.replace(tmp_path / "c", other)
            else:
                file.write_text(f"text\n{rows}")
            os.utime(file, ns=(0, 10**18))
            found = splits_of(Corpus(str(file)), tmp_path / "cache")
            assert found["train"][0].startswith(text)
            # Tokens are found again by what the text is, not by what it was.
            digests.add((file, find(Corpus(str(file)), tmp_path / "cache").digest))
    assert len(digests) == 4


def test_a_file_that_is_written_to_while_it_is_read_is_refused(tmp_path):
    for name, said in (("a.jsonl", "changed while"), ("a.txt", "no longer the 2,000")):
        path = tmp_path / name
        path.write_text('{"text": "a"}\n' * 100 if "json" in name else "a" * 2000)
        text = find(Corpus(str(path)), tmp_path / "cache")
        path.write_text(path.read_text() * 2)
        with pytest.raises(UserError, match=said):
            list(text.pieces())


def test_labels_of_a_file_that_has_changed_are_refused(tmp_path):
    """Its tokens may come from the cache, which knows it as it was."""
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "a,yes\n" * 20)
    text = find(Corpus(str(path)), tmp_path / "cache", Columns("label"))
    assert len(list(text.labels())) == 20
    path.write_text(path.read_text().replace("yes", "noo"))
    with pytest.raises(UserError, match="changed while"):
        list(text.labels())


def test_dropped_bytes_are_said(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbf" + b"ab\r\n" * 50)
    made = TokenStream(Corpus(str(path)), Bytes(), 4).prepare(tmp_path / "cache")
    kept = sum(split.coded.read for split in made.splits.values())
    assert (kept, path.stat().st_size) == (150, 203)
    assert "203 bytes. 53 of them are dropped: line ends of two" in made.statement
    path.write_text("ab\n" * 50)
    assert "are dropped" not in find(Corpus(str(path)), tmp_path / "cache").statement


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "names no text"),
        (" ", "names no text"),
        ("a\0b", "names no text"),
        ("caf\udce9.txt", r"The name caf\\xe9.txt is not UTF-8"),
        ("x" * 300, r"x{60}\.\.\.'\): no name is 300 characters long"),
        ("folder/" + "x" * 3000 + ".txt", "no name is 3,004 characters long"),
        ("春" * 200, "cannot be read: File name too long"),
        ("~nobody-of-that-name/x.txt", "no file or folder"),
        ("link.txt", "is a link to gone.txt, which isn't there"),
        ("loop.txt", "cannot be read: Too many levels"),
        ("file.txt/inner.txt", "no file or folder"),
    ],
)
def test_sources_that_name_nothing(tmp_path, monkeypatch, source, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.txt").symlink_to("gone.txt")
    (tmp_path / "loop.txt").symlink_to("loop.txt")
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(UserError, match=said):
        find(Corpus(source), tmp_path / "cache")


def test_names_that_are_not_utf8_are_read_in_a_folder(tmp_path):
    for name in (b"caf\xe9.txt", b"\xff.txt"):
        (tmp_path / "in" / os.fsdecode(name)).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / os.fsdecode(name)).write_text("some text")
    text = find(Corpus(str(tmp_path / "in")), tmp_path / "cache")
    assert sum(len(piece.text) for piece in text.pieces()) == 18


def test_a_file_in_the_place_of_the_cache(tmp_path):
    (tmp_path / "cache").touch()
    for name, text in (("a.txt", "text"), ("a.csv", "text\na\nb")):
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match="cache.*a file is in the way"):
            splits_of(Corpus(str(tmp_path / name)), tmp_path / "cache")


@pytest.mark.parametrize(
    ("separator", "hint"),
    [("<|end|>", "corpus.separator"), ("\\n\\n", r"\$'"), ("\r\n", "alone")],
)
def test_a_separator_that_never_occurs(tmp_path, separator, hint):
    path = tmp_path / "a.txt"
    path.write_bytes(b"some\r\n\r\ntext\n" * 50)
    with pytest.raises(UserError, match=f"never occurs in .*a.txt.*{hint}"):
        splits_of(Corpus(str(path), separator=separator), tmp_path / "cache")
    # Of several files one may be a single document.
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("a<|end|>b")
    (tmp_path / "in" / "b.txt").write_text("c")
    corpus = Corpus(str(tmp_path / "in"), separator="<|end|>", validation=0.0)
    assert splits_of(corpus, tmp_path / "cache") == {"train": ["a", "b", "c"]}


@pytest.mark.parametrize(
    ("source", "begins"),
    [
        ("tinyshakespeare", "02298a4f8acf"),
        ("names", "68caf0d48327"),
        ("tangshi300", "318a9b64a472"),
    ],
)
def test_runs_of_the_shipped_corpora_find_their_text_again(tmp_path, source, begins):
    """A run goes on only where the digest of its text is what it was."""
    assert find(Corpus(source), tmp_path).digest.startswith(begins)


def test_a_separator_for_what_has_documents_of_its_own(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a|b"}\n')
    for source in (str(tmp_path / "a.jsonl"), "tangshi300"):
        with pytest.raises(UserError, match="documents of its own: a separator cuts"):
            find(Corpus(source, separator="|"), tmp_path / "cache")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
@pytest.mark.parametrize("name", ["a.txt", "a.csv"])
def test_utf16_without_a_mark_is_not_taken_for_utf8(tmp_path, encoding, name):
    """Of ASCII it is valid UTF-8: half of it zeros, which are easy to tell."""
    path = tmp_path / name
    path.write_bytes(("text\n" + "hello world\n" * 9).encode(encoding))
    with pytest.raises(UserError, match="no text in UTF-8: .* 0, as in UTF-16"):
        find(Corpus(str(path)), tmp_path / "cache")
    path.write_text("text\n" + "hello world\n" * 9 + "\0")
    assert find(Corpus(str(path)), tmp_path / "cache").bytes == 114


@pytest.mark.parametrize("content", [b"||\n|", b"\xef\xbb\xbf"])
def test_a_text_that_is_none(tmp_path, content):
    (tmp_path / "a.txt").write_bytes(content)
    corpus = Corpus(str(tmp_path / "a.txt"), separator="|" * (b"|" in content))
    with pytest.raises(UserError, match="a.txt has no text to learn from"):
        splits_of(corpus, tmp_path / "cache")
