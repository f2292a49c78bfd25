"""What ``--help`` says of a command's options."""

import contextlib
import io
import os
import re
import textwrap
import warnings
from collections.abc import Iterable, Iterator
from typing import Any
from unittest import mock

import tyro

from lm_jax.platform import called

COLUMNS = 80


def tyro_help(kind: Any, program: str, default: Any = None) -> str:
    """What tyro says of a dataclass, in 80 columns, whatever the terminal.

    Boxes are for terminals alone, and there is none here. Examples are of
    ./launch.sh, and are shown as this program was called.
    """
    given = {} if default is None else {"default": default}
    said = io.StringIO()
    with (
        contextlib.redirect_stdout(said),
        contextlib.suppress(SystemExit),
        warnings.catch_warnings(),
        mock.patch.dict(os.environ, COLUMNS=str(COLUMNS)),
    ):
        # It warns of kinds of the user's own, which its unions don't list.
        warnings.simplefilter("ignore")
        # An option is given by its name alone; a field has a value.
        bools = (
            tyro.conf.FlagCreatePairsOff
            if default is None
            else tyro.conf.FlagConversionOff
        )
        config = (tyro.conf.AvoidSubcommands, bools)
        tyro.cli(kind, prog=program, args=["--help"], config=config, **given)
    text = said.getvalue().strip().replace("./launch.sh", called())
    return "\n".join(_wrapped(text.splitlines()))


def _wrapped(lines: Iterable[str]) -> Iterator[str]:
    """Join lines that go on with the sentence before, and wrap them anew.

    tyro keeps the line ends of docstrings where a line is indented there.
    """
    whole: list[str] = []
    for line in lines:
        words, column = line.strip(), _column(line)
        start = len(line) - len(line.lstrip())
        if whole and words and start == column == _column(whole[-1]):
            whole[-1] += f" {words}"
        else:
            whole.append(line.rstrip())
    for line in whole:
        column = max(0, _column(line))
        yield from textwrap.wrap(
            line[column:],
            COLUMNS,
            initial_indent=line[:column],
            subsequent_indent=" " * column,
            break_on_hyphens=False,
            break_long_words=False,
        ) or [""]


def _column(line: str) -> int:
    """Where the text of a line begins, after an option too; -1 where it has none."""
    option = re.match(r" *\S+( \S+)* {2,}(?=\S)", line)
    if option:
        return option.end()
    words = line.lstrip()
    return -1 if words[:1] in ("", "-") else len(line) - len(words)
