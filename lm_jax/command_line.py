"""Options as they are typed: flags, the words after them, and what the words mean."""

import re
import shlex
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lm_jax.files import given_path

_BOOLEANS = {"True": True, "true": True, "False": False, "false": False}
_NAMES = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
    types.NoneType: "None",
}
_FLAG = re.compile(r"--[A-Za-z][\w.-]*")


class Flag(NamedTuple):
    """An option and the words between it and the next one.

    Attributes:
        name: as it was typed, without dashes and value: "model.kv-heads".
        words: after it, or after its "=".
    """

    name: str
    words: tuple[str, ...]

    @property
    def path(self) -> tuple[str, ...]:
        """Names of fields: ("model", "kv_heads")."""
        return tuple(self.name.replace("-", "_").split("."))


def split(args: Iterable[str]) -> tuple[tuple[str, ...], list[Flag]]:
    """Cut arguments into the words before the first flag, and flags.

    What follows a bare "--" is no flag, and belongs to none: names of files, as every
    shell's user has them.
    """
    first: list[str] = []
    found: list[tuple[str, list[str]]] = []
    left = iter(args)
    for arg in left:
        if arg == "--":
            first += left
            break
        name, equals, value = arg.partition("=")
        if _FLAG.fullmatch(name):
            found.append((name[2:], [value] if equals else []))
        else:
            (found[-1][1] if found else first).append(arg)
    return tuple(first), [Flag(name, tuple(words)) for name, words in found]


def flag_of(path: Iterable[str]) -> str:
    """A field's path as it is typed: "--model.kv-heads"."""
    return "--" + ".".join(path).replace("_", "-")


def members(annotation: Any) -> tuple[Any, ...]:
    """The types that a field may hold: those of a union, or the one."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def take(annotation: Any, words: tuple[str, ...]) -> tuple[Any, tuple[str, ...]]:
    """Read a value of a type from the first words; give it and the other words.

    A bool without a word of its own is True. A tuple of any length takes all words.

    Raises:
        ValueError: they are no such value; the message says what would be.
    """
    for member in members(annotation):
        if typing.get_origin(member) is tuple:
            return _tuple(member, words)
    fits, value = _fits(annotation, words[0]) if words else (False, None)
    if fits:
        return value, words[1:]
    if bool in members(annotation):
        return True, words
    raise ValueError(described(annotation))


def _tuple(annotation: Any, words: tuple[str, ...]) -> tuple[Any, tuple[str, ...]]:
    """A tuple: of the types given, or of all words where it has any length."""
    inner, values = typing.get_args(annotation), []
    if len(inner) == 2 and inner[1] is ...:
        while words:
            try:
                value, words = take(inner[0], words)
            except ValueError:
                raise ValueError(described(annotation)) from None
            values.append(value)
        return tuple(values), ()
    for each in inner:
        if not words:
            raise ValueError(described(annotation))
        value, words = take(each, words)
        values.append(value)
    return tuple(values), words


def _fits(annotation: Any, word: str) -> tuple[bool, Any]:
    """Whether a word is a value of a type, and the value; a text is tried last."""
    for member in sorted(members(annotation), key=lambda each: each is str):
        if typing.get_origin(member) is Literal:
            for choice in typing.get_args(member):
                if word == str(choice):
                    return True, choice
        elif member is types.NoneType:
            if word == "None":
                return True, None
        elif member is bool:
            if word in _BOOLEANS:
                return True, _BOOLEANS[word]
        elif member is Path:
            return True, given_path(word, "A path")
        elif member in (int, float, str):
            try:
                return True, member(word)
            except ValueError:
                pass
    return False, None


def described(annotation: Any) -> str:
    """Say what a field takes: "a whole number or None"."""
    found = []
    for member in members(annotation):
        inner = typing.get_args(member)
        if typing.get_origin(member) is Literal:
            found += [str(choice) for choice in inner]
        elif typing.get_origin(member) is tuple and inner[-1] is ...:
            found.append(f"any number of: {described(inner[0])}")
        elif typing.get_origin(member) is tuple:
            found.append(" and then ".join(map(described, inner)))
        else:
            found.append(_NAMES.get(member, getattr(member, "__name__", str(member))))
    return " or ".join([", ".join(found[:-1]), found[-1]][len(found) < 2 :])


def as_words(value: Any) -> str:
    """A value as it would be typed: (("a", True),) as "a True"."""
    if isinstance(value, tuple):
        return " ".join(map(as_words, value)) or "empty"
    return shlex.quote(str(value))


def writable(annotation: Any) -> bool:
    """Whether a value of the type can be typed as words."""
    return all(
        member in _NAMES
        or typing.get_origin(member) is Literal
        or (
            typing.get_origin(member) is tuple
            and all(e is ... or writable(e) for e in typing.get_args(member))
        )
        for member in members(annotation)
    )
