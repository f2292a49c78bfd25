"""A room imports only rooms above it, and its docstring is the map of it."""

import ast
import re
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


def test_what_a_room_says_of_its_files_is_there():
    """In the docstring of a room, a name between backticks is a file of it."""
    named = [
        (room.parent.name, name, (room.parent / f"{name}.py").exists())
        for room in PACKAGE.glob("*/__init__.py")
        for name in re.findall(
            r"`(\w+)`",
            ast.get_docstring(ast.parse(room.read_text(encoding="utf-8"))) or "",
        )
    ]
    assert len(named) > 100
    assert [each for each in named if not each[2]] == []


def test_the_guide_maps_every_room_and_module():
    guide = (PACKAGE.parent / "docs/code.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^  (\w+(?:/|\.py)) ", guide, re.MULTILINE))
    rooms = {f"{file.parent.name}/" for file in PACKAGE.glob("*/__init__.py")}
    modules = {file.name for file in PACKAGE.glob("[a-z]*.py")}
    assert listed == rooms | modules
    _, found, rest = guide.partition("in which order to read them.\n")
    paths = re.findall(r"`(\w+/\w+\.py)`", rest.partition("\n\n")[0])
    assert found and paths and all((PACKAGE / path).exists() for path in paths)
