"""docs/code.md lists rooms in the order of imports; each says what its files are."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "lm_jax"
GUIDE = (PACKAGE.parent / "docs/code.md").read_text(encoding="utf-8")
# The rooms and modules in the guide's order, which is that of imports.
LISTED = re.findall(r"^  (\w+)(?:/|\.py) ", GUIDE, re.MULTILINE)
WITHOUT_JAX = ("text", "tokenizers", "data")
# A run may begin with a checkpoint of another library, and is itself what one becomes.
UPWARD = ("runs/learnt.py", "exchange")


def imported(file):
    """The modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.split(".")


def imports(room):
    """What the files of a room, or a module, import: (file, names)."""
    for file in [*PACKAGE.glob(f"{room}.py"), *PACKAGE.glob(f"{room}/**/*.py")]:
        for names in imported(file):
            yield file.relative_to(PACKAGE).as_posix(), names


@pytest.mark.parametrize("room", LISTED)
def test_a_room_imports_only_what_the_guide_lists_above_it(room):
    above = {room, *LISTED[: LISTED.index(room)]}
    below = [
        (file, names[1])
        for file, names in imports(room)
        if names[0] == "lm_jax" and len(names) > 1 and names[1] not in above
    ]
    assert below in ([], [UPWARD])


@pytest.mark.parametrize("room", WITHOUT_JAX)
def test_text_becomes_examples_without_jax(room):
    found = {names[0] for _, names in imports(room)}
    assert "numpy" in found or "lm_jax" in found
    assert not found & {"jax", "flax", "optax", "orbax"}


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
    rooms = [file.parent.name for file in PACKAGE.glob("*/__init__.py")]
    modules = [file.stem for file in PACKAGE.glob("[a-z]*.py")]
    assert sorted(LISTED) == sorted(rooms + modules)
    _, found, rest = GUIDE.partition("in which order to read them.\n")
    paths = re.findall(r"`(\w+/\w+\.py)`", rest.partition("\n\n")[0])
    assert found and paths and all((PACKAGE / path).exists() for path in paths)
