"""What a person sees, on a terminal and in a file."""

import io
import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from lm_jax.runs import display as module
from lm_jax.runs.display import COLUMNS, Display


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self):
        return True


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "monotonic", clock)
    return clock


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    return Terminal()


def steps_drawn(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines()]


def test_a_file_gets_a_line_every_ten_seconds_and_at_the_end(clock):
    stream = io.StringIO()
    display = Display(300, stream)
    for step in range(1, 301):
        display.progress(step, 2.0)
        clock.now += 0.1
    display.close()
    assert steps_drawn(stream.getvalue()) == ["1/300", "101/300", "201/300", "300/300"]


def test_a_line_says_where_the_training_stands(clock):
    stream = io.StringIO()
    display = Display(2000, stream)
    display.progress(1000, 1.98768, 2.0)
    clock.now += 10
    display.progress(1100, 1.98768, 2.0, tokens_per_second=41234.0, note="saving")
    last = stream.getvalue().splitlines()[-1]
    assert last == "1100/2000  loss 1.9877  val 2.0000  1:30 left  41.2k tok/s  saving"


def test_the_first_step_has_no_time_left(clock):
    stream = io.StringIO()
    display = Display(10, stream)
    display.progress(1, math.nan)
    assert stream.getvalue() == "1/10  loss nan\n"


def test_the_time_left_follows_the_last_two_minutes(clock):
    stream = io.StringIO()
    display = Display(10_000, stream)
    for step in range(1, 1001):
        display.progress(step, 1.0)
        clock.now += 0.1 if step < 500 else 1.0
    assert stream.getvalue().splitlines()[-1].endswith("2:30:09 left")


def test_the_time_left_is_not_that_of_one_long_evaluation(clock):
    """200 steps of a second, and two minutes and a half after every 100th."""
    stream = io.StringIO()
    display = Display(1000, stream)
    for step in range(1, 202):
        clock.now += 151.0 if step in (101, 201) else 1.0
        display.progress(step, 1.0)
    minutes, seconds = stream.getvalue().split()[-2].split(":")
    assert 0.7 < (60 * int(minutes) + int(seconds)) / (799 * 2.5) < 1.4


def test_a_terminal_is_redrawn_ten_times_a_second_in_place(clock, terminal):
    display = Display(1000, terminal)
    display.progress(1, 2.0)
    for step in range(2, 900):
        clock.now += 0.001
        display.progress(step, 2.0)
    display.close()
    assert terminal.getvalue().count("loss") <= 11
    assert terminal.getvalue().count("\n") == 1


def test_the_cursor_is_shown_even_if_the_process_is_killed(clock, terminal):
    display = Display(1000, terminal)
    display.progress(1, 2.0)
    hidden, shown = "\x1b[?25l", "\x1b[?25h"
    assert hidden not in terminal.getvalue().rsplit(shown)[-1]
    display.close()


@pytest.mark.parametrize("columns", [60, 80, 200])
@pytest.mark.parametrize("note", ["", "n" * 100])
def test_the_live_line_fits_the_terminal(clock, terminal, monkeypatch, columns, note):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    display = Display(100_000, terminal)
    display.progress(1, 10.0, 10.0, 123456.0, note)
    clock.now += 60
    before = len(terminal.getvalue())
    display.progress(100, 10.0, 10.0, 123456.0, note)
    drawn = terminal.getvalue()[before:].split("\x1b[2K")[-1]
    assert cell_len(drawn) <= columns
    assert drawn.startswith("100/100000")
    assert note or "left" in drawn
    display.close()


def test_what_stays_is_printed_above_the_live_line(clock, terminal):
    display = Display(10, terminal)
    display.progress(1, 2.0)
    display.evaluation(1, "validation", {"loss": 1.5}, best=True)
    display.close()
    shown = terminal.getvalue()
    assert "validation  loss 1.5000" in shown
    assert "best so far" in shown
    assert shown.rindex("validation  loss") < shown.rindex("1/10")


def test_a_dumb_terminal_is_a_file(clock, terminal, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    display = Display(10, terminal)
    display.progress(1, 2.0)
    display.close()
    assert terminal.getvalue() == "1/10  loss 2.0000\n"


def test_forced_colour_puts_no_control_characters_into_a_file(clock, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    stream = io.StringIO()
    display = Display(10, stream)
    display.header("title", [("a", "b")])
    display.progress(1, 2.0)
    display.evaluation(1, "likelihood", {"loss": 2.0}, best=True)
    display.close()
    assert "\x1b" not in stream.getvalue()


@given(text=st.text(st.characters()))
def test_a_sample_is_short_narrow_and_harmless(text):
    stream = io.StringIO()
    display = Display(10, stream)
    display.sample(5, "[bold]\x1b[31m\u202e" + text)
    title, *lines = stream.getvalue().removesuffix("\n").split("\n")
    assert title == "  the model writes at step 5:"
    assert 1 <= len(lines) <= 8
    assert lines[0].startswith("    [bold]\ufffd[31m\ufffd")
    for line in lines:
        assert cell_len(line) <= COLUMNS
        assert not line.strip() or line.startswith("    ")
        kinds = {unicodedata.category(character) for character in line}
        assert not kinds & {"Cc", "Cs", "Zl", "Zp"}


def test_a_sample_has_eight_lines_at_most(clock):
    stream = io.StringIO()
    Display(10, stream).sample(5, "\n".join(map(str, range(20))))
    assert stream.getvalue().split()[-8:] == list("01234567")


def test_a_model_that_counts_writes_at_no_step(clock):
    stream = io.StringIO()
    Display(1, stream).sample(None, "a")
    assert stream.getvalue() == "  the model writes:\n    a\n"


def test_a_sample_in_chinese_is_folded_by_its_width(clock):
    stream = io.StringIO()
    Display(10, stream).sample(5, "长" * 100)
    lines = stream.getvalue().splitlines()[1:]
    assert [line.count("长") for line in lines] == [38, 38, 24]


def test_a_header_fits_80_columns_and_loses_nothing(clock):
    stream = io.StringIO()
    words = [f"word{k}" for k in range(60)]
    rows = [("model", " ".join(words)), ("路径", "长" * 90), ("none", "")]
    Display(10, stream).header("[red]title", rows)
    text = stream.getvalue()
    lines = text.splitlines()
    assert lines[0] == "[red]title"
    assert all(cell_len(line) <= COLUMNS for line in lines)
    assert [word for word in text.split() if word.startswith("word")] == words
    assert text.count("长") == 90
    starts = {
        cell_len(line[: line.find(mark)])
        for line in lines
        for mark in ("word0", "长")
        if mark in line
    }
    assert len(starts) == 1


def test_a_message_wraps_prose_and_leaves_commands(clock):
    stream = io.StringIO()
    command = "  ./launch.sh generate " + "x" * 80
    Display(10, stream).message("word " * 30 + "\n" + command + "\n\nend")
    lines = stream.getvalue().splitlines()
    assert lines[-3:] == [command, "", "end"]
    assert all(len(line) <= COLUMNS for line in lines[:-3])
    assert " ".join(lines[:-3]).split() == ["word"] * 30


def test_a_stream_that_lacks_the_characters_is_no_error(clock):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    display = Display(10, stream)
    display.header("标题", [("a", "é")])
    display.sample(1, "你好" * 100)
    display.work("数据", 0, 10)
    clock.now += 3
    display.work("数据", 5, 10)
    display.work("数据", 10, 10)
    display.progress(1, 2.0)
    stream.flush()
    shown = stream.buffer.getvalue().decode("ascii")
    assert "loss 2.0000" in shown
    assert shown.startswith("\\u6807\\u9898\n") and "\\u4f60\\u597d" in shown
    assert all(len(line) <= COLUMNS for line in shown.splitlines())


def test_short_work_is_not_shown(clock):
    stream = io.StringIO()
    display = Display(10, stream)
    for done in range(11):
        display.work("tokenizing", done, 10)
        clock.now += 0.15
    assert stream.getvalue() == ""


def test_long_work_is_shown_with_its_time(clock):
    stream = io.StringIO()
    display = Display(10, stream)
    for done in range(0, 101):
        display.work("tokenizing", done, 100)
        clock.now += 0.2
    lines = stream.getvalue().splitlines()
    assert lines[0] == "tokenizing  10%  0:18 left"
    assert lines[-1] == "tokenizing: 0:20"
    assert len(lines) == 3


def test_work_of_no_size_is_no_error(clock):
    stream = io.StringIO()
    display = Display(0, stream)
    display.work("reading", 0, 0)
    clock.now += 5
    display.work("reading", 0, 0)
    assert stream.getvalue() == ""


def test_work_that_nobody_can_measure_is_said_at_once(clock, terminal):
    file = io.StringIO()
    for stream in (file, terminal):
        display = Display(0, stream)
        display.work("learning a vocabulary", 0, -1)
        assert "learning a vocabulary" in stream.getvalue()
        display.work("learning a vocabulary", 1, -1)
        assert display._live is None
    assert file.getvalue() == "learning a vocabulary\n"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.4, "0:00"),
        (59.6, "1:00"),
        (3723, "1:02:03"),
        (3 * 86400 + 4 * 3600, "3d 04h"),
    ],
)
def test_durations(seconds, shown):
    assert module._duration(seconds) == shown


def test_a_sample_is_folded_between_words(clock):
    stream = io.StringIO()
    words = " ".join(["seventeen"] * 30)
    Display(10, stream).sample(5, f"  {words}\n" + "x" * 100)
    lines = stream.getvalue().splitlines()[1:]
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].startswith("      seventeen")
    assert {*" ".join(lines[:-2]).split()} == {"seventeen"}
    assert [line.strip() for line in lines[-2:]] == ["x" * 76, "x" * 24]


def test_what_is_waited_for_is_said_at_once():
    stream = io.StringIO()
    with Display(0, stream).waiting("compiling"):
        assert stream.getvalue() == "compiling\n"
    assert stream.getvalue() == "compiling\n"
