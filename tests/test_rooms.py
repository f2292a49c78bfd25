"""A room imports only rooms above it; jax comes in with the models."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "lm_jax"
FREE = {"bounds", "errors", "files", "platform", "processes"}
ROOMS = ["durations", "text", "tokenizers", "data"]


def imported(file):
    """The modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.split(".")


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_above_it_and_no_jax(room):
    above = {room, *ROOMS[: ROOMS.index(room)], *FREE}
    files = [*PACKAGE.glob(f"{room}.py"), *PACKAGE.glob(f"{room}/**/*.py")]
    names = [name for file in files for name in imported(file)]
    assert files and names
    assert {name[1] for name in names if name[0] == "lm_jax"} <= above
    assert not {name[0] for name in names} & {"jax", "flax", "optax", "orbax"}
