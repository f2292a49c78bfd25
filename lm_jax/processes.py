"""Processes of our own: how they start, that none is left over, how one ended."""

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Names, in the environment of a process, the command of the one that started it.
COMMAND = "LM_JAX_COMMAND"
_ROOT = Path(__file__).resolve().parents[1]


def start(
    module: str,
    words: list[Any],
    *,
    stdout: Any = subprocess.DEVNULL,
    stderr: Any = None,
    variables: dict[str, str] | None = None,
    apart: bool = False,
) -> subprocess.Popen:
    """Start a module of this package in a process of its own.

    Its standard input is a pipe that ends when this process does, however it ends.

    Args:
        module: such as "lm_jax.contest.worker"; see `end_with_parent`.
        words: that it is given.
        stdout, stderr: as `subprocess.Popen` takes them.
        variables: of its environment, beside those of this one.
        apart: whether the keys of the terminal (Ctrl-C) don't reach it.
    """
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        env=os.environ | {"PYTHONPATH": path, COMMAND: command()} | (variables or {}),
        process_group=0 if apart else None,
    )


def command() -> str:
    """The command that somebody typed for what this process does."""
    return os.environ.get(COMMAND) or shlex.join(sys.orig_argv)


def end_with_parent(take: Callable[[str], None] = lambda line: None) -> None:
    """Stop and save as soon as the process that started this one is no more.

    Args:
        take: is told each line that it writes until then, in a thread of its own.
    """

    def read() -> None:
        # Without a buffer: Python ends badly while a thread waits for one.
        rest = b""
        while block := os.read(0, 4096):
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                take(line.decode())
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=read, daemon=True).start()


def how_ended(status: int, said: str) -> str:
    """How a process ended that shouldn't have.

    Args:
        status: as `subprocess.Popen` gives it.
        said: all that it wrote on standard error.
    """
    how = f"signal {-status}" if status < 0 else f"status {status}"
    return f"It ended with {how}: {last_line(said)}"


def last_line(text: str) -> str:
    """The last line of what a process wrote."""
    return next(iter(reversed(text.splitlines())), "nothing was said")
