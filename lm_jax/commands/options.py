"""The options of a command, read from its arguments."""

import contextlib
import io
import textwrap
from typing import TypeVar

import tyro

Options = TypeVar("Options")


def read_options(kind: type[Options], command: str, args: list[str]) -> Options:
    """Read a dataclass of options; its docstring begins the help.

    Raises:
        SystemExit: 2 with a message for an unfit option, 0 after ``--help``.
    """
    program = f"./launch.sh {command}"
    if not {"-h", "--help"} & set(args):
        return tyro.cli(kind, prog=program, args=args)
    # tyro wraps what it puts in boxes, and neither the usage nor the docstring.
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        tyro.cli(kind, prog=program, args=args)
    for line in said.getvalue().splitlines():
        print(textwrap.fill(line, 80, break_on_hyphens=False))
    raise SystemExit(0)
