"""What a person sees while a model trains: one live line, and words above it.

On a terminal the line is redrawn in place. Anywhere else (a file, a pipe, a
batch system's log) the same is said in plain lines, seldom, without control
characters.
"""

import contextlib
import os
import sys
import textwrap
from collections import deque
from collections.abc import Iterator
from time import monotonic
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lm_jax.streams import is_obeyed, lasting

COLUMNS = 80  # what is written to stay fits this, however wide the terminal
_SAMPLE_LINES = 8
Line = tuple[str, int, int, list[str]]  # name, how much is done of how much, and more
_PACE_SECONDS = 120  # long enough that an evaluation does not upset the time left


class Display:
    """The lines of one training, on a stream.

    Its reader may go away: training goes on unseen.

    Args:
        total_steps: the last step of the training.
        stream: a text stream to write to; standard output if None.
        title: of the training, where it is one of several.
    """

    def __init__(self, total_steps: int, stream: Any = None, title: str = ""):
        self._title = title
        self._standard = stream is None or stream is sys.stdout
        stream = lasting(stream or sys.stdout)
        self._total = total_steps
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        dumb = os.environ.get("TERM", "dumb") in ("dumb", "unknown")
        self._terminal = stream.isatty() and not dumb
        self._console = Console(
            file=stream,  # type: ignore[arg-type]
            color_system="auto" if self._terminal else None,
            width=None if self._terminal else COLUMNS,
            highlight=False,
        )
        self._interval = 0.1 if self._terminal else 10.0  # seconds between redraws
        self._live: Live | None = None
        self._drawn = -self._interval
        self._pace: deque[tuple[float, int]] = deque()  # (time, step), the last while
        self._longest = 0.0  # seconds between two steps
        self._work: tuple[str, float] | None = None  # description, time of its start
        self._work_shown = False

    def expect(self, total_steps: int) -> None:
        """Say how long the training is, where that is known only now."""
        self._total = total_steps

    def header(self, title: str, rows: list[tuple[str, str]]) -> None:
        """A title and a listing of names and values; long values are wrapped."""
        self._print(Text(self._harmless(title), style="bold"))
        indent = min(max((cell_len(name) for name, _ in rows), default=0), 50) + 2
        for name, value in rows:
            name = set_cell_size(self._harmless(name), indent)
            lines = [
                line
                for part in value.split("\n")
                for line in Text(self._harmless(part)).wrap(
                    self._console, COLUMNS - 2 - indent
                )
            ]
            for line in lines or [Text("")]:
                line.rstrip()
                self._print(Text.assemble("  ", (name, "cyan"), line))
                name = " " * indent

    def progress(
        self,
        step: int,
        loss: float,
        validation: float | None = None,
        tokens_per_second: float | None = None,
        note: str = "",
    ) -> None:
        """Where the training stands; cheap to call at every step.

        Args:
            step: steps done, of `total_steps`.
            loss: of this step, nats per token or per text.
            validation: the last validation loss, once there is one.
            note: a word about what is going on.
        """
        now = monotonic()
        left = self._time_left(now, step)
        if now - self._drawn < self._interval and step < self._total:
            return
        self._drawn = now
        pieces = [f"loss {_number(loss)}"]
        if validation is not None:
            pieces.append(f"val {_number(validation)}")
        if left is not None:
            pieces.append(f"{_duration(left)} left")
        if tokens_per_second is not None:
            pieces.append(f"{_short(tokens_per_second)} tok/s")
        if note:
            pieces.append(self._harmless(note))
        name = f"{self._harmless(self._title)} {step}/{self._total}".lstrip()
        self._draw(name, step, self._total, pieces)

    def evaluation(self, step: int, name: str, metrics: dict, best: bool) -> None:
        """What an evaluation found, in a line that stays."""
        pieces = [f"step {step}", name]
        for name, value in metrics.items():
            pieces.append(f"{name.replace('_', ' ')} {_number(value)}")
        lines = _flow([*pieces, "best so far"] if best else pieces)
        for line in lines:
            self._print(Text(self._harmless(line), style="bold" if best else ""))

    def sample(self, step: int | None, text: str) -> None:
        """The first lines of a text that the model wrote; None is one that counts."""
        at = "" if step is None else f" at step {step}"
        self._print(Text(f"  the model writes{at}:", style="dim"))
        lines = []
        for line in text[:4000].strip("\n").split("\n"):
            wrapped = Text(self._harmless(line)).wrap(self._console, COLUMNS - 4)
            lines += [part.plain for part in wrapped] or [""]
        for line in lines[:_SAMPLE_LINES]:
            self._print(Text(f"    {line}".rstrip()))

    def styled(self, parts: list[tuple[str, str]]) -> None:
        """A line that stays, of (text, style); styles show on a terminal alone."""
        harmless = [(self._harmless(text), style) for text, style in parts]
        line = Text.assemble(*harmless)
        line.rstrip()
        self._print(line)

    def message(self, text: str) -> None:
        """A text, wrapped between words.

        A line that begins with a space (a command, a listing) stays as it is,
        so that it can be copied.
        """
        for line in text.split("\n"):
            line = self._harmless(line)
            wrapped = [line] if line.startswith(" ") else _wrap(line)
            for part in wrapped or [""]:
                self._print(Text(part))

    def work(self, description: str, done: int, total: int) -> None:
        """Show work that is not training, such as reading a corpus.

        Call it as often as you like, and with `done` equal to `total` at the
        end. Nothing is shown of what takes less than two seconds. A `total` of
        -1: how much it is, nobody knows, and it is said at once; 1 is done then.
        """
        if total < 0:
            self._stop(keep=False) if done else self._begin_waiting(description)
            return
        now = monotonic()
        if self._work is None or self._work[0] != description:
            self._work, self._work_shown = (description, now), False
        elapsed = now - self._work[1]
        name = self._harmless(description)
        if done >= total:
            if self._work_shown:
                self._stop(keep=False)
                self._print(Text(f"{name}: {_duration(elapsed)}"))
            self._work, self._drawn = None, -self._interval
        elif elapsed >= 2 and (
            not self._work_shown or now - self._drawn >= self._interval
        ):
            self._work_shown, self._drawn = True, now
            pieces = [f"{100 * done / total:.0f}%"]
            if done > 0:
                pieces.append(f"{_duration(elapsed * (total - done) / done)} left")
            self._draw(name, done, total, pieces)

    @contextlib.contextmanager
    def waiting(self, description: str) -> Iterator[None]:
        """Say what is done meanwhile, at once: how long it takes, nobody knows."""
        self._begin_waiting(description)
        try:
            yield
        finally:
            self._stop(keep=False)

    def _begin_waiting(self, description: str) -> None:
        name = self._harmless(description)
        if self._terminal:
            self._draw(name, 0, 1, [])
        else:
            self._print(Text(name))

    def close(self) -> None:
        """Leave the terminal as it was; the last line stays."""
        self._stop(keep=True)

    def _draw(self, name: str, done: int, total: int, pieces: list[str]) -> None:
        """The live line, or the same in words."""
        if self._terminal:
            self._show([(name, done, total, pieces)])
            return
        for words in _flow([name, *pieces]):
            self._print(Text(words))

    def _show(self, lines: list[Line]) -> None:
        """The live lines of a terminal, one below the other."""
        rests = ["  ".join(pieces) for *_, pieces in lines]
        said = max(cell_len(name) for name, *_ in lines) + max(map(cell_len, rests))
        room = max(self._console.width, 60) - said - 4
        table = Table.grid(padding=(0, 2, 0, 0))
        for (name, done, total, _), rest in zip(lines, rests, strict=True):
            if room >= 6:
                bar = ProgressBar(total=total, completed=done, width=min(room, 40))
                table.add_row(Text(name, no_wrap=True), bar, Text(rest, no_wrap=True))
            else:
                whole = Text(f"{name}  {rest}", no_wrap=True, overflow="crop")
                table.add_row(whole)
        if self._live is None:
            self._live = Live(
                console=self._console,
                auto_refresh=False,
                redirect_stdout=self._standard,
                redirect_stderr=sys.stderr is not None and sys.stderr.isatty(),
            )
            self._live.start()
            # A killed process could not show it again.
            self._console.show_cursor(True)
        self._live.update(table, refresh=True)

    def _stop(self, keep: bool) -> None:
        """End the live line, in place or without a trace."""
        if self._live is not None:
            self._live.transient = not keep
            self._live.stop()
            self._live = None

    def _print(self, line: Text) -> None:
        """One line, above the live one; never broken by rich."""
        self._console.print(line, soft_wrap=True)

    def _time_left(self, now: float, step: int) -> float | None:
        """Seconds, at the pace of the last two minutes; None before there is one.

        An evaluation that took long lengthens them: by that and one step there would be
        no end to see.
        """
        if not self._pace or now - self._pace[-1][0] >= 0.1:
            if self._pace:
                self._longest = max(self._longest, now - self._pace[-1][0])
            self._pace.append((now, step))
            looked = max(_PACE_SECONDS, 4 * self._longest)
            while len(self._pace) > 2 and now - self._pace[0][0] > looked:
                self._pace.popleft()
        since, first = self._pace[0]
        if step <= first:
            return None
        return (now - since) / (step - first) * (self._total - step)

    def _harmless(self, text: str) -> str:
        """The text as one line that the stream can take and the terminal not obey."""
        text = text.replace("\t", "    ")
        text = "".join("\ufffd" if is_obeyed(c) else c for c in text)
        return text.encode(self._encoding, "backslashreplace").decode(self._encoding)


def _flow(pieces: list[str]) -> list[str]:
    """Pieces side by side, in as many lines of 80 columns as they need."""
    lines = [pieces[0]]
    for piece in pieces[1:]:
        if cell_len(lines[-1]) + 2 + cell_len(piece) <= COLUMNS:
            lines[-1] += f"  {piece}"
        else:
            lines.append(f"    {piece}")
    return lines


def _wrap(line: str) -> list[str]:
    return textwrap.wrap(line, COLUMNS, break_long_words=False, break_on_hyphens=False)


def _number(value: float | int) -> str:
    """Four decimals where they say something; counts without any."""
    if isinstance(value, int):
        return str(value)
    return f"{value:.4f}" if 0.01 <= abs(value) < 1e4 else f"{value:.4g}"


def _short(count: float) -> str:
    """1234567 as 1.23M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{letter}"
    return f"{count:.3g}"


def _duration(seconds: float | int) -> str:
    """Seconds as 0:07, 12:34, 1:02:03 or 3d 04h."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24}d {hours % 24:02d}h"
    if hours:
        return f"{hours}:{minute:02d}:{second:02d}"
    return f"{minute}:{second:02d}"
