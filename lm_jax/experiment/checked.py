"""Values of the wrong type in an experiment: one sentence, not a traceback later."""

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from numbers import Integral, Real
from typing import Any, Literal

from lm_jax.command_line import members
from lm_jax.errors import UserError
from lm_jax.experiment.kinds import annotations
from lm_jax.experiment.leaves import fields

_WORDS = {
    str: "text in quotes",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    types.NoneType: "None",
    tuple: "a tuple",
    Mapping: "a mapping",
}


def check_types(value: Any, name: str = "") -> None:
    """Refuse a field that holds what its annotation doesn't say, however deep.

    Fields of a user's own kinds are taken as they are.

    Args:
        value: a dataclass.
        name: where it stands in an experiment.

    Raises:
        UserError: naming the field, what it holds and what it takes.
    """
    kind: Any = type(value)
    if not kind.__module__.startswith("lm_jax."):
        return
    hints = annotations(kind)
    for field in fields(value):
        held, place = getattr(value, field.name), f"{name}.{field.name}".lstrip(".")
        for where, misfit, hint in _misfits(held, hints[field.name], place):
            raise UserError(
                f"{where}={_problem(misfit, hint)}{_example(where, misfit)}"
            )
        for where, inner in _values(held, place):
            check_types(inner, where)


def _misfits(held: Any, hint: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    """What doesn't fit: the entry of a mapping rather than all of it."""
    if _fits(held, hint):
        return
    if isinstance(held, Mapping) and typing.get_origin(hint) is Mapping:
        inner = typing.get_args(hint)[1]
        for key, entry in held.items():
            yield from _misfits(entry, inner, f"{name}.{key}")
        return
    yield name, held, hint


def _values(held: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(held, Mapping):
        for key, entry in held.items():
            yield from _values(entry, f"{name}.{key}")
    elif isinstance(held, tuple) and not hasattr(held, "_fields"):
        for index, entry in enumerate(held):
            yield from _values(entry, f"{name}.{index}")
    elif dataclasses.is_dataclass(held) and not isinstance(held, type):
        yield name, held


# Beartype looks at one entry of a tuple, drawn at random: this looks at all.
def _fits(held: Any, hint: Any) -> bool:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if len(options := members(hint)) > 1:
        return any(_fits(held, each) for each in options)
    if origin is Literal:
        return held in inner
    if origin is tuple:
        if not isinstance(held, tuple):
            return False
        if inner[-1] is ...:
            return all(_fits(each, inner[0]) for each in held)
        return len(held) == len(inner) and all(map(_fits, held, inner))
    if origin is Mapping:
        return isinstance(held, Mapping) and all(
            _fits(each, inner[1]) for each in held.values()
        )
    return _is_a(held, hint)


def _is_a(held: Any, kind: Any) -> bool:
    if kind in (int, float):
        wanted = Integral if kind is int else Real
        return isinstance(held, wanted) and not isinstance(held, bool)
    if not isinstance(kind, type):
        return True  # What is said in another way is not looked at.
    try:
        return isinstance(held, kind)
    except TypeError:
        return True


def _problem(held: Any, hint: Any) -> str:
    """What is held, and what would fit."""
    if isinstance(held, type):
        return f"{held.__name__} is a class: write {held.__name__}()."
    wanted = [_wanted(each) for each in members(hint)]
    listed = wanted[0]
    if len(wanted) > 1:
        listed = f"{', '.join(wanted[:-1])} or {wanted[-1]}"
    return f"{held!r}: it takes {listed}."


def _example(name: str, held: Any) -> str:
    """A duration that may have been meant."""
    duration = name == "budget" or name.endswith(".every")
    return f' Write "{held} steps"?' if duration and isinstance(held, Integral) else ""


def _wanted(hint: Any) -> str:
    origin = typing.get_origin(hint)
    if origin is Literal:
        return " or ".join(map(repr, typing.get_args(hint)))
    inner = typing.get_args(hint)[0] if origin is tuple else None
    if typing.get_origin(inner) is Literal:
        return f"a tuple of {_wanted(inner)}"
    plain = origin or hint
    if plain in _WORDS:
        return _WORDS[plain]
    return f"{plain.__name__}()" if isinstance(plain, type) else str(plain)
