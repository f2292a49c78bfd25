"""The options of a command, read from its arguments."""

import contextlib
import io
import textwrap
from pathlib import Path
from typing import Any, TypeVar

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
)

from lm_jax.files import given_path

Options = TypeVar("Options")

_REGISTRY = ConstructorRegistry()


@_REGISTRY.primitive_rule
def _path(kind: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Paths are read as `given_path` does."""
    if kind.type is not Path:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda args: given_path(args[0], "A path"),
        is_instance=lambda value: isinstance(value, Path),
        str_from_instance=lambda value: [str(value)],
    )


def read_options(kind: type[Options], command: str, args: list[str]) -> Options:
    """Read a dataclass of options; its docstring begins the help.

    Raises:
        SystemExit: 2 with a message for an unfit option, 0 after ``--help``.
    """
    program = f"./launch.sh {command}"
    if not {"-h", "--help"} & set(args):
        return tyro.cli(kind, prog=program, args=args, registry=_REGISTRY)
    # tyro wraps what it puts in boxes, and neither the usage nor the docstring.
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        tyro.cli(kind, prog=program, args=args, registry=_REGISTRY)
    for line in said.getvalue().splitlines():
        print(textwrap.fill(line, 80, break_on_hyphens=False))
    raise SystemExit(0)
