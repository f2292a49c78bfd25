"""A process lives on without its streams."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lm_jax.runs.display import Display
from lm_jax.streams import Lasting, lasting

ROOT = Path(__file__).parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}

# The streams of a command, without its imports.
PROTECTED = """
import os, sys
from lm_jax.streams import protect_standard_streams
protect_standard_streams()
"""


def python(code, redirected="", **more):
    """Run code in a process whose streams the shell redirected."""
    command = ["sh", "-c", f'exec "$0" -c "$1" {redirected}', sys.executable]
    return subprocess.run(
        [*command, PROTECTED + code],
        env=ENVIRONMENT | more,
        capture_output=True,
        check=False,
        timeout=60,
    )


# More than a pipe holds, so that it is not all written before its reader has gone.
WRITES = """
for _ in range(50):
    print("x" * 10_000, flush=True)
os.write(1, b"of a library\\n")
print("lived", sys.stdout.lost.errno if sys.stdout.lost else None, file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("redirected", "lost"),
    [(">/dev/full", errno.ENOSPC), (">&-", None), (">&- <&-", None), ("", None)],
)
def test_a_full_or_closed_output_is_outlived(redirected, lost):
    done = python(WRITES, redirected)
    assert (done.returncode, done.stderr) == (0, f"lived {lost}\n".encode())


def test_a_reader_that_went_away_is_outlived():
    done = python(WRITES, "| head -c 1")
    assert done.stderr == f"lived {errno.EPIPE}\n".encode()


def test_a_slow_reader_is_waited_for():
    """What another program made of the pipe or terminal that both write to."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    command = [sys.executable, "-c", f"{PROTECTED}print('x' * 1_000_000)"]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=write) as process:
        os.close(write)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        with open(read, "rb") as reader:
            assert len(reader.read()) == 1_000_001
    assert process.returncode == 0


@pytest.mark.parametrize("redirected", ["2>/dev/full", "2>&-", "<&- >&- 2>&-"])
def test_so_is_a_lost_error_output(redirected, tmp_path):
    kept = tmp_path / "kept"
    code = f"print('x' * 10_000, file=sys.stderr); open({str(kept)!r}, 'w').write('!')"
    done = python(f"{code}\nos.write(2, b'more')", redirected)
    assert (done.returncode, kept.read_text()) == (0, "!")


def test_no_file_takes_the_place_of_a_closed_stream(tmp_path):
    """What a library prints to number 1 must not stand in a file of the run."""
    code = f"file = open({str(tmp_path / 'metrics')!r}, 'w')"
    done = python(f"{code}\nos.write(1, b'noise'); print('said')", ">&- 2>&-")
    assert done.returncode == 0
    assert (tmp_path / "metrics").read_bytes() == b""


def test_a_terminal_that_hung_up_is_outlived():
    master, slave = os.openpty()
    read, write = os.pipe()
    code = "print('here', flush=True); sys.stdin.readline()\n"
    code += "print('gone', flush=True)\n"
    code += f"os.write({write}, str(sys.stdout.lost.errno).encode())"
    command = [sys.executable, "-c", PROTECTED + code]
    pipes = {"stdin": subprocess.PIPE, "stdout": slave, "stderr": slave}
    with subprocess.Popen(
        command, env=ENVIRONMENT, pass_fds=[write], **pipes
    ) as process:
        os.close(slave)
        assert b"here" in os.read(master, 100)
        os.close(master)
        process.communicate(b"\n", timeout=60)
    assert process.returncode == 0
    assert int(os.read(read, 10)) == errno.EIO


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_characters_that_an_encoding_lacks_are_escapes(encoding):
    code = "print('春 é', '\\udce9'); print('春', file=sys.stderr)"
    done = python(code, PYTHONIOENCODING=encoding)
    assert done.returncode == 0
    assert "\\udce9" in done.stdout.decode(encoding)
    wanted = "春 é" if encoding == "utf-8" else "\\u6625"
    assert wanted in done.stdout.decode(encoding)


class Full(io.StringIO):
    def __init__(self, after):
        super().__init__()
        self.left = after

    def write(self, text):
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


@pytest.mark.parametrize("after", range(5))
@pytest.mark.parametrize("terminal", [False, True])
def test_a_display_goes_on_unseen_from_any_write_on(after, terminal, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Full(after)
    monkeypatch.setattr(Full, "isatty", lambda self: terminal)
    display = Display(10, stream)
    display.header("title", [("name", "value")])
    display.message("one")
    for step in range(1, 11):
        display.progress(step, 2.0)
    display.evaluation(10, "likelihood", {"loss": 1.0}, best=True)
    display.close()
    assert stream.left < 0


def test_without_any_stream_a_display_is_silent(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    display = Display(10)
    display.message("one")
    display.close()


def test_a_lasting_stream_is_its_stream_but_for_failures():
    stream = io.StringIO()
    kept = lasting(stream)
    assert lasting(kept) is kept
    kept.writelines(["a", "b"])
    assert print("c", file=kept) is None
    assert stream.getvalue() == "abc\n"
    assert not kept.isatty() and kept.lost is None
    with pytest.raises(AttributeError):
        _ = kept.nothing


def test_other_errors_are_no_loss():
    """A stream that was closed by the program itself is a mistake of the program."""
    stream = io.StringIO()
    stream.close()
    with pytest.raises(ValueError, match="closed"):
        Lasting(stream).write("a")
