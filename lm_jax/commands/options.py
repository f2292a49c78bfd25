"""The options of a command, read from its arguments."""

import dataclasses
import typing
from typing import Any, NamedTuple, TypeVar

import tyro

from lm_jax.command_line import described, flag_of, split, take
from lm_jax.commands.help import tyro_help
from lm_jax.errors import UserError, nearest
from lm_jax.platform import called

Options = TypeVar("Options")


class _Option(NamedTuple):
    """An option: its type, and the field that its value is a field of, and which."""

    hint: Any
    whole: str = ""
    below: str = ""


def read_options(kind: type[Options], command: str, args: list[str]) -> Options:
    """Read a dataclass of options; its docstring begins the help.

    Raises:
        UserError: an option that isn't there, with the nearest, or one that is given
            twice, or an unfit value.
        SystemExit: 0 after ``--help``.
    """
    program = f"{called()} {command}"
    if {"-h", "--help"} & set(args):
        print(tyro_help(kind, program))
        raise SystemExit(0)
    options, places = _declared(kind)
    words, flags = split(args)
    values: dict[str, Any] = {}
    for flag in flags:
        name = ".".join(flag.path)
        if name not in options:
            names = [flag_of([each]) for each in options]
            raise UserError(
                f"{program} has no option --{flag.name}."
                f"{nearest(f'--{flag.name}', names)}"
            )
        if name in values:  # what was said before would be lost
            several = isinstance(values[name], tuple)
            raise UserError(
                f"{program}: {flag_of([name])} was given twice. Give it once"
                f"{', with all that it takes' if several else ''}."
            )
        values[name], rest = _value(flag_of([name]), options[name].hint, flag.words)
        words += rest
    for name, hint in places.items():
        if words:
            values[name], words = _value(name.upper(), hint, words)
        elif _is_required(kind, name):
            raise UserError(f"{program} {name.upper()}: give {name.upper()}, a path.")
    if words:
        raise UserError(
            f"{program} was given {' '.join(map(repr, words))} beside what it takes. "
            f"What has spaces is quoted; all options: {program} --help"
        )
    return _made(kind, values, options)


def _declared(kind: type) -> tuple[dict[str, _Option], dict[str, Any]]:
    """A dataclass's options, and the types of what is given by its place alone."""
    options, places = {}, {}
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        marks = getattr(hint, "__metadata__", ())
        plain = typing.get_args(hint)[0] if marks else hint
        if tyro.conf.Positional in marks:
            places[name] = plain
        elif dataclasses.is_dataclass(plain):
            bare = any(getattr(mark, "name", None) == "" for mark in marks)
            for below, inner in typing.get_type_hints(plain).items():
                path = below if bare else f"{name}.{below}"
                options[path] = _Option(inner, name, below)
        else:
            options[name] = _Option(plain)
    return options, places


def _value(flag: str, hint: Any, words: tuple[str, ...]) -> tuple[Any, tuple[str, ...]]:
    """The value that words say, and the words that are left.

    Raises:
        UserError: they say none of this type.
    """
    try:
        value, left = take(hint, words)
        if value == ():  # what was asked for would be left out in silence
            raise ValueError(described(hint))
        if value == "" and flag.startswith("--"):  # as a variable that isn't set
            raise UserError(f"{flag} is empty: give a value, or leave it out.")
        return value, left
    except ValueError as error:
        if not words:
            raise UserError(f"{flag} needs a value after it: {error}.") from None
        raise UserError(f"{flag} takes {error}, not {words[0]!r}.") from None


def _is_required(kind: Any, name: str) -> bool:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    return fields[name].default is dataclasses.MISSING


def _made(kind: Any, values: dict[str, Any], options: dict[str, _Option]) -> Any:
    """The options, each value in its place."""
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    whole: dict[str, Any] = {}
    for name, value in values.items():
        option = options.get(name, _Option(None))
        if above := option.whole:
            before = whole.get(above, defaults[above])
            whole[above] = dataclasses.replace(before, **{option.below: value})
        else:
            whole[name] = value
    return kind(**whole)
