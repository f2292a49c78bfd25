"""Standard output and error of a process, whatever becomes of their readers."""

import os
import sys
import unicodedata
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

# They turn the writing direction of what follows, outside of a text too.
_DIRECTION_MARKS = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def is_obeyed(character: str) -> bool:
    """Whether a terminal does something by a character, beside showing it."""
    ends = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
    return ends or character in _DIRECTION_MARKS


def spelled(name: object) -> str:
    """A name, of a folder say, on one line: what a terminal would obey as \\x1b."""
    return "".join(ascii(c)[1:-1] if is_obeyed(c) else c for c in str(name))


class Lasting:
    """A text stream that never fails: what cannot be written is dropped.

    A full disk, a terminal that hung up or a reader that went away shall not end
    a training. From the first failure on, the stream's file leads to nowhere, for
    libraries that write to it by themselves too.

    Args:
        stream: where the text goes; nowhere if None, as where it was closed
            before the process began.

    Attributes:
        lost: the first failure, or None.
    """

    def __init__(self, stream: Any):
        # Kept open as long as the process: it stands in for its output.
        self._stream = stream or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        self.lost: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        """All else is the stream's own."""
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text, or drop it."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write some lines, or drop them."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand on what was written."""
        self._try(self._stream.flush)

    def _try(self, act: Callable[[], Any]) -> None:
        try:
            act()
        except OSError as error:
            self.lost = self.lost or error
            # What the stream still holds would fail again when it is closed.
            with suppress(OSError):
                _lead_nowhere(self._stream.fileno())


def lasting(stream: Any) -> Lasting:
    """Give a stream that never fails; one that is such already stays as it is."""
    return stream if isinstance(stream, Lasting) else Lasting(stream)


def protect_standard_streams() -> None:
    """Let this process live on without its input, output or error.

    Characters that an encoding lacks are written as escapes (\\u6625). A number
    that was closed is taken by /dev/null, lest the next file that is opened get
    it, and with it whatever a library prints.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            _fill(number)
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
            # Another program may have left its end so that a slow reader is an error.
            os.set_blocking(stream.fileno(), True)
    sys.stdout, sys.stderr = lasting(sys.stdout), lasting(sys.stderr)  # type: ignore[assignment]


def _fill(number: int) -> None:
    """Open /dev/null by a number that is free."""
    try:
        os.fstat(number)
    except OSError:
        _lead_nowhere(number)


def _lead_nowhere(number: int) -> None:
    """Let the file of a number, open or not, be /dev/null."""
    null = os.open(os.devnull, os.O_RDWR)
    if null == number:
        os.set_inheritable(null, True)
    else:
        os.dup2(null, number)
        os.close(null)
