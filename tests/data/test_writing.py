"""The cache holds whole files and folders, or none."""

import errno
import json
import os

import pytest

from lm_jax.commands.bench_data import child, write_text
from lm_jax.data.writing import whole_folder, write_json
from lm_jax.errors import UserError


def test_a_failed_write_keeps_the_file_that_stood(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match=f"No space is left to write {path}"):
        write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_fails_is_not_there(tmp_path):
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "a") as folder:
        (folder / "half").touch()
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_the_first_of_two_writers_stays(tmp_path):
    place = tmp_path / "a"
    with whole_folder(place) as slow:
        (slow / "slow").touch()
        with whole_folder(place) as fast:
            (fast / "fast").touch()
    assert [path.name for path in place.iterdir()] == ["fast"]
    assert list(tmp_path.iterdir()) == [place]


def test_a_closed_cache_is_told(tmp_path):
    (tmp_path / "file").touch()

    def closed(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", closed)
        with pytest.raises(UserError, match="Choose a cache that can be"):
            write_json(tmp_path / "a.json", {})


def test_the_benchmarks_text_and_figures(tmp_path, capsys):
    path = tmp_path / "text.txt"
    write_text(path, 3_000_000)
    text = path.read_text(encoding="utf-8")
    assert abs(path.stat().st_size - 3_000_000) < 10
    assert "月" in text and text[:1_000_000] not in text[1_000_000:]
    child("words", str(path), str(tmp_path / "cache"))
    figures = json.loads(capsys.readouterr().out)
    assert figures["tokens"] > 400_000 and figures["peak"] > 0
