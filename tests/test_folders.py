"""Folders are whole or not there, and never another's."""

import ctypes
import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import Mock

import pytest

from lm_jax.errors import UserError
from lm_jax.files import atomic_write, whole_file
from lm_jax.folders import check_new, resumed_folder, whole_folder
from tests.test_files import fails_with


def test_a_folder_that_fails_is_not_there(tmp_path):
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "a") as folder:
        (folder / "half").touch()
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("same", [False, True])
def test_the_first_of_two_writers_stays_and_the_other_is_told(there, same, tmp_path):
    place = tmp_path / "a"
    if there:
        place.mkdir()
    told = nullcontext() if same else pytest.raises(UserError, match="by another proc")
    with told, whole_folder(place, same) as slow:
        (slow / "slow").touch()
        with whole_folder(place) as fast:
            (fast / "fast").touch()
    assert [path.name for path in place.iterdir()] == ["fast"]
    assert list(tmp_path.iterdir()) == [place]


@pytest.mark.parametrize("name", ["real", "link", "."])
def test_an_empty_folder_is_filled_and_stays_what_it_is(name, tmp_path, monkeypatch):
    """A link, a mounted disk, the working directory: nothing takes their place."""
    place = tmp_path / "real"
    place.mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(place if name == "." else tmp_path)
    node = place.stat().st_ino
    check_new(Path(name), "The folder")
    with whole_folder(Path(name)) as folder:
        (folder / "b").mkdir()
        (folder / "a").touch()
    assert place.stat().st_ino == node and (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in place.iterdir()) == ["a", "b"]


def test_what_a_killed_process_was_writing_keeps_nobody_out(tmp_path):
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path) as folder:
        folder.rename(left := tmp_path / folder.name.replace(".tmp", ".moved"))
        raise KeyboardInterrupt
    left.rename(folder)
    check_new(tmp_path, "The folder")
    left.touch()
    with pytest.raises(UserError, match="there already"):
        check_new(tmp_path, "The folder")


# What was begun by nohup, or behind another, doesn't hear all of them.
ENDED = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
from lm_jax.files import atomic_write, whole_file
from lm_jax.folders import whole_folder

with whole_folder(Path("folder")) as folder, whole_file(Path("file")) as file:
    atomic_write(folder / "a", "text")
    file.touch()
    print("inside", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_who_is_told_to_end_leaves_nothing_half_written(number, tmp_path):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", ENDED]
    with subprocess.Popen(
        command, cwd=tmp_path, env=env, stderr=subprocess.DEVNULL, **pipes
    ) as process:
        process.stdout.readline()
        assert len(list(tmp_path.iterdir())) == 2
        process.send_signal(number)
        assert process.wait(60) == -number
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_takes_no_folder_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match=f"Cannot write {tmp_path}/file/a: a file is in"),
        whole_folder(tmp_path / "file" / "a"),
    ):
        pass
    monkeypatch.setattr(os, "rename", fails_with(errno.ENOSPC))
    with pytest.raises(UserError, match="disk is full"), whole_folder(tmp_path / "a"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_one_process_fills_a_folder_and_the_others_wait(tmp_path):
    place, given = tmp_path / "a", []

    def wait():
        with resumed_folder(place) as folder:
            given.append(folder)

    other = threading.Thread(target=wait)
    with resumed_folder(place) as folder:
        other.start()
        other.join(0.2)
        assert other.is_alive() and given == []
        (folder / "x").write_text("whole")
    other.join()
    assert given == [None]
    assert list(tmp_path.iterdir()) == [place] and (place / "x").exists()


def test_who_comes_as_another_has_just_filled_a_folder_takes_it(tmp_path, monkeypatch):
    opened = os.open

    def moved(path, *flags):
        Path(path).rename(tmp_path / "a")
        return opened(path, *flags)

    monkeypatch.setattr(os, "open", moved)
    with resumed_folder(tmp_path / "a") as folder:
        assert folder is None
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("making", [whole_folder, whole_file])
def test_who_listens_to_a_signal_in_c_goes_on_listening(making, tmp_path):
    """As jax does to SIGTERM in a run of several processes."""
    listen = ctypes.CDLL(None).signal
    listen.restype, listen.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda number: None)
    own = ctypes.cast(handler, ctypes.c_void_p).value
    before = listen(signal.SIGHUP, own)
    with making(tmp_path / "a") as temporary:
        if making is whole_file:
            temporary.touch()
    assert listen(signal.SIGHUP, before) == own


@pytest.mark.parametrize("locks", [True, False])
def test_what_a_killed_process_left_is_given_again(tmp_path, monkeypatch, locks):
    """An error leaves nothing; nor does a kill, where no lock keeps others out."""
    if not locks:
        refusal = OSError(errno.ENOLCK, "No locks available")
        monkeypatch.setattr(fcntl, "flock", Mock(side_effect=refusal))
    place = tmp_path / "a"
    with pytest.raises(ZeroDivisionError), resumed_folder(place) as folder:
        (folder / "x").write_text("1")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyboardInterrupt), resumed_folder(place) as folder:
        (folder / "x").write_text("1")
        raise KeyboardInterrupt
    with resumed_folder(place) as folder:
        assert (folder / "x").exists() == locks
    assert list(tmp_path.iterdir()) == [place]


@pytest.mark.parametrize("making", [whole_folder, resumed_folder, whole_file])
def test_what_is_in_the_way_is_said_of_the_name_that_was_given(
    making, tmp_path, monkeypatch
):
    monkeypatch.setattr(os, "fsync", fails_with(errno.ENOSPC))
    with pytest.raises(UserError) as caught, making(tmp_path / "a") as temporary:
        atomic_write(temporary / "b" if temporary.is_dir() else temporary, "text")
    inner = "" if making is whole_file else "/b"
    assert f"Cannot write {tmp_path}/a{inner}: the disk is full" in str(caught.value)
