"""Files and folders are whole or not there, and what hinders them is said."""

import errno
import json
import os
import resource
from pathlib import Path

import numpy as np
import pytest

from lm_jax.errors import UserError
from lm_jax.files import (
    atomic_write,
    exclusive_write,
    filling,
    given_path,
    neighbour,
    read_whole,
    refused,
    save_array,
    whole_file,
    write_json,
    writing,
)


def fails_with(code: int):
    def fail(*arguments, **named):
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("code", [None, errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP])
def test_one_writes_a_file_that_is_not_there_also_without_hard_links(
    code, tmp_path, monkeypatch
):
    if code is not None:
        monkeypatch.setattr(os, "link", fails_with(code))
    assert exclusive_write(tmp_path / "plan", "first")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails_with(errno.EROFS))
        assert not exclusive_write(tmp_path / "plan", "second")
    assert [path.name for path in tmp_path.iterdir()] == ["plan"]
    assert (tmp_path / "plan").read_text() == "first"


def test_text_and_bytes_are_written_as_they_are(tmp_path):
    atomic_write(tmp_path / "a", "Füße, 你好\n")
    atomic_write(tmp_path / "b", b"\x00\xff")
    assert (tmp_path / "a").read_bytes() == "Füße, 你好\n".encode()
    assert (tmp_path / "b").read_bytes() == b"\x00\xff"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_what_a_link_leads_to_is_written(tmp_path):
    (tmp_path / "link").symlink_to("real")
    for text in ("first", "second"):
        atomic_write(tmp_path / "link", text)
        assert (tmp_path / "real").read_text() == text
    assert (tmp_path / "link").is_symlink()


def test_a_pipe_or_an_open_file_is_written_to_and_not_replaced(tmp_path):
    """As `--out /dev/null` and `--out /dev/stdout`, also by root."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    atomic_write(tmp_path / "pipe", "Füße")
    assert os.read(reader, 100) == "Füße".encode()
    os.close(reader)
    with (tmp_path / "log").open("w") as log:
        log.write("before\n")
        log.flush()
        atomic_write(Path(f"/dev/fd/{log.fileno()}"), b"text")
    assert (tmp_path / "log").read_text() == "before\ntext"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "pipe"]


@pytest.mark.parametrize("stage", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission denied"),
    ],
)
def test_a_refused_write_leaves_the_old_file(tmp_path, monkeypatch, stage, code, said):
    path = tmp_path / "result.json"
    atomic_write(path, "old")
    monkeypatch.setattr(os, stage, fails_with(code))
    with pytest.raises(UserError, match=said) as caught:
        atomic_write(path, "new")
    assert str(path) in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]
    assert path.read_text() == "old"


def test_libraries_that_say_a_full_disk_in_words_alone_are_understood(tmp_path):
    """As safetensors does, whose errors are no OSError."""
    said = "I/O error: No space left on device (os error 28)"
    with pytest.raises(UserError, match="disk is full"), writing(tmp_path / "a"):
        raise ValueError(said)
    with pytest.raises(ValueError, match="error 5"), writing(tmp_path / "a"):
        raise ValueError("I/O error (os error 5)")


@pytest.fixture
def small_files():
    """No file may have more than a page."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [500, 600, 5000])
def test_an_array_is_never_cut_in_silence(size, tmp_path, small_files):
    """NumPy loses the end of the first, and says of the others what has no code."""
    with pytest.raises(UserError, match="too large for this disk"):
        save_array(tmp_path / "a.npy", np.arange(size))


def test_an_array_is_written_as_numpy_writes_it(tmp_path):
    for array in (np.arange(12.0).reshape(3, 4).T, np.zeros(0, "<u2"), np.float32(1)):
        array = np.asarray(array)
        save_array(tmp_path / "a.npy", array)
        np.save(tmp_path / "b.npy", array)
        written = [(tmp_path / name).read_bytes() for name in ("a.npy", "b.npy")]
        assert written[0] == written[1]


def test_an_error_that_is_not_the_users_passes(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", fails_with(errno.EIO))
    with pytest.raises(OSError):
        atomic_write(tmp_path / "a", "text")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
def test_what_cannot_be_read_is_said_with_its_name(code, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "read_bytes", fails_with(code))
    with pytest.raises(UserError, match=f"a can't be read: {os.strerror(code)}"):
        read_whole(tmp_path / "a")


def test_what_a_system_refuses_is_nobodys_fault_of_ours():
    denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES), b"/a")
    assert refused(denied) == "/a: Permission denied."
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert refused(full) == "No space left on device."
    many = OSError(errno.EMFILE, os.strerror(errno.EMFILE), "/a")
    assert refused(many).startswith("/a: Too many open files. Let a process")
    assert not refused(FileNotFoundError(errno.ENOENT, "is not there", "/a"))
    assert not refused(OSError("of a library"))


def test_writing_into_no_directory_is_said(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        atomic_write(tmp_path / "none" / "a", "text")


def test_json_is_written_with_the_folders_above_it(tmp_path):
    path = tmp_path / "a" / "b.json"
    write_json(path, {"a": [1, "春"]})
    assert json.loads(path.read_text()) == {"a": [1, "春"]}
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(UserError, match=f"Cannot write {path}/c.json: a file is in"):
        write_json(path / "c.json", {})


def test_a_file_takes_its_place_when_it_is_whole(tmp_path):
    place = tmp_path / "a"
    with pytest.raises(ZeroDivisionError), whole_file(place) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with whole_file(place) as temporary:
        temporary.write_text("whole")
        assert not place.exists()
    assert place.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [place]


def test_a_file_that_is_missing_inside_is_no_fault_of_the_folder(tmp_path):
    with pytest.raises(FileNotFoundError), filling(tmp_path):
        (tmp_path / "none").read_text()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("runs/a\nb", "line end or control"),
        ("\x1b[31m", "line end or control"),
        ("a\u2028b", "line end or control"),
        ("runs/caf\udce9", "not UTF-8"),
        ("~nobody-of-this-name/x", "nobody's home"),
        ("a/" + "春" * 100, "too long"),
    ],
)
def test_a_path_that_cannot_be_meant_is_refused(given, words):
    with pytest.raises(UserError, match=words) as said:
        given_path(given, "--run")
    assert "--run" in str(said.value) and str(said.value).isprintable()


def test_a_path_is_read_as_a_shell_reads_it(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert given_path("~/x", "--run") == Path("/home/ada/x")
    assert given_path("~", "--run") == Path("/home/ada")
    for plain in ("runs/x", "runs/~", "春 $HOME", "a.b/../c", "/"):
        assert given_path(plain, "--run") == Path(plain)
        assert given_path(Path(plain), "--run") == Path(plain)
    assert given_path("./~", "--run") == Path("./~")


def test_what_is_no_utf8_is_written_so_that_json_reads_it_back(tmp_path):
    """A byte of an argument in another encoding, as environment.json keeps it."""
    text = json.dumps("caf\udce9", ensure_ascii=False)
    atomic_write(tmp_path / "a.json", text)
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == "caf\udce9"


def test_the_nearest_path_that_is_there_is_named(tmp_path, monkeypatch):
    """Each part that isn't there is looked for among those that are."""
    (tmp_path / "runs/gpt/base").mkdir(parents=True)
    (tmp_path / "names.txt").touch()
    monkeypatch.chdir(tmp_path)
    for typed, meant in {
        "rnus/gtp/base": "runs/gpt/base",
        "name.txt": "names.txt",
        str(tmp_path / "runs/gpt/bas"): str(tmp_path / "runs/gpt/base"),
    }.items():
        assert neighbour(Path(typed)) == f" Did you mean '{meant}'?"
    for typed in ("zzz", "runs/zzz/base", "names.txt/more"):
        assert neighbour(Path(typed)) == ""
