"""Text in an object store is copied once, and read as a file of this machine is."""

import gzip
import shutil
from types import SimpleNamespace

import fsspec
import pytest

from lm_jax.errors import UserError
from lm_jax.text import Corpus, find, stores
from lm_jax.text.stores import where

TEXT = "one line\nanother line\n" * 50


@pytest.fixture
def store(monkeypatch):
    """A store in memory; it keeps what was fetched from it."""
    files = fsspec.filesystem("memory")
    files.pipe("/bucket/a.txt", TEXT.encode())
    files.pipe("/bucket/more/train.jsonl.gz", gzip.compress(b'{"text": "x"}\n' * 9))
    files.pipe("/bucket/more/valid.jsonl", b'{"text": "y"}\n' * 3)
    fetched, get_file = [], type(files).get_file

    def counted(self, place, to, **more):
        fetched.append(place)
        return get_file(self, place, to, **more)

    monkeypatch.setattr(type(files), "get_file", counted)
    yield SimpleNamespace(files=files, fetched=fetched)
    files.store.clear()


def pieces(source, cache):
    return list(find(Corpus(source), cache).pieces())


def test_a_file_or_folder_is_read_as_one_of_this_machine(store, tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    text = find(Corpus("memory://bucket/a.txt"), tmp_path / "cache")
    here = find(Corpus(str(tmp_path / "a.txt")), tmp_path / "cache")
    assert list(text.pieces()) == list(here.pieces()) and text.digest == here.digest
    assert text.statement.startswith("memory://bucket/a.txt: 1,100 bytes")
    splits = [p.split for p in pieces("memory://bucket/more", tmp_path / "cache")]
    assert splits == ["train"] * 9 + ["validation"] * 3


def test_it_is_fetched_once_and_when_it_has_changed(store, tmp_path, monkeypatch):
    source = "memory://bucket/more/"
    first = where(source, tmp_path)
    assert where(source, tmp_path) == first and len(store.fetched) == 2
    store.files.pipe("/bucket/more/valid.jsonl", b'{"text": "z"}\n' * 3)  # as long
    second = where(source, tmp_path)
    assert second != first and (first / "valid.jsonl").exists()
    assert "z" in (second / "valid.jsonl").read_text() and len(store.fetched) == 4

    def unreachable(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setattr(type(store.files), "find", unreachable)
    assert where(source, tmp_path) == second
    with pytest.raises(UserError, match="fetched: ConnectionError: no network"):
        where("memory://bucket/a.txt", tmp_path)


def test_what_broke_off_is_not_taken_for_a_text(store, tmp_path, monkeypatch):
    whole = type(store.files).get_file

    def breaks_off(self, place, to, **more):
        with open(to, "w") as file:
            file.write("half")
        raise TimeoutError("slow")

    monkeypatch.setattr(type(store.files), "get_file", breaks_off)
    with pytest.raises(UserError, match="TimeoutError: slow"):
        where("memory://bucket/a.txt", tmp_path)
    monkeypatch.setattr(type(store.files), "get_file", whole)
    assert where("memory://bucket/a.txt", tmp_path).read_text() == TEXT


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("https://example.org/a.txt", "Fetch it, and give the file"),
        ("gs://bucket/a.txt", "extra `stores`"),
        ("clay://bucket/a.txt", "clay"),
        ("memory://bucket/none", "there is nothing there"),
    ],
)
def test_what_cannot_be_read_is_refused(source, said, store, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gcsfs", None)
    with pytest.raises(UserError, match=said):
        find(Corpus(source), tmp_path)


def test_a_copy_needs_room(store, tmp_path, monkeypatch):
    little = shutil._ntuple_diskusage(2000, 1990, 10)
    monkeypatch.setattr(stores.shutil, "disk_usage", lambda _: little)
    with pytest.raises(UserError, match="has 1,100 bytes, and 10 are free"):
        where("memory://bucket/a.txt", tmp_path)
    assert store.fetched == []
