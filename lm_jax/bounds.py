"""Which numbers the fields of a value may hold, said where the field is declared.

``decay: float = within("[0, 1)", 0.9)``. A value calls `check` in its
``__post_init__``, or is looked at by `problems_within` before anything is compiled.
"""

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np

from lm_jax.errors import UserError

SEEDS = f"[0, {2**32 - 1}]"
"""Random keys have 32 bits of a seed: beyond, two seeds would be one."""

SIZES = f"[1, {2**31 - 1}]"
"""Axes of an array are counted in 32 bits."""


def within(interval: str, default: Any = dataclasses.MISSING) -> Any:
    """A field of a dataclass whose numbers lie in an interval.

    Args:
        interval: as mathematicians write it: "[0, 1)" holds 0 and not 1.
        default: of the field; none if left out. Where it may be None, None is
            always accepted.
    """
    return dataclasses.field(default=default, metadata={"within": interval})


def check(value: Any, place: str = "") -> None:
    """Refuse a value that holds a number outside its interval.

    Args:
        value: a dataclass.
        place: where it stands in an experiment, as "optimizer".

    Raises:
        UserError: naming the field, the number and what fits.
    """
    for problem in problems(value, place):
        raise UserError(problem)


def check_number(name: str, number: Any, interval: str) -> None:
    """Refuse a whole number that stands in no value.

    Raises:
        UserError: with its name, and what fits.
    """
    if not _fits(number, interval, whole=True):
        raise UserError(_problem(name, number, interval, whole=True))


def problems(value: Any, place: str = "") -> Iterator[str]:
    """Say, in a sentence each, which fields hold what lies outside their interval.

    Fractions are taken as float32 has them, which is what is computed with: 1 - 1e-9
    is 1 there, and 1e-50 is 0. What says nothing of fractions wants finite ones.
    """
    for field in dataclasses.fields(value):
        interval, held = _interval(type(value), field), getattr(value, field.name)
        if interval is None or (held is None and _takes_none(field)):
            continue
        whole = not _takes_fractions(field)
        if not all(_fits(each, interval, whole) for each in _numbers(held)):
            name = f"{place}.{field.name}" if place else field.name
            none = ", or None" if _takes_none(field) else ""
            yield _problem(name, held, interval, whole, none)


def problems_within(value: Any, place: str = "") -> Iterator[str]:
    """Say what `problems` does of a value and of all values that it holds."""
    if isinstance(value, tuple):
        held = {str(index): each for index, each in enumerate(value)}
    elif isinstance(value, Mapping):
        held = {str(name): each for name, each in value.items()}
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from problems(value, place)
        held = {f.name: getattr(value, f.name, None) for f in dataclasses.fields(value)}
    else:
        return
    for name, each in held.items():
        yield from problems_within(each, f"{place}.{name}" if place else name)


def all_problems(value: Any, place: str) -> Iterator[str]:
    """Say which numbers lie outside their interval; where none does, all else.

    So ``value.problems()`` need not look at a number by itself again.
    """
    found = list(problems_within(value, place))
    yield from found or value.problems()


def _interval(kind: type, field: dataclasses.Field) -> str | None:
    """What a field says, or the field of a base that it stands for."""
    for base in kind.__mro__:
        declared = base.__dict__.get("__dataclass_fields__", {}).get(field.name)
        if declared is not None and "within" in declared.metadata:
            return str(declared.metadata["within"])
    ours = kind.__module__.startswith("lm_jax.")
    return "(-inf, inf)" if ours and field.type in (float, float | None) else None


def _problem(name: str, held: Any, interval: str, whole: bool, none: str = "") -> str:
    kind = "a whole number" if whole else "a number"
    return f"{name}={held!r}: give {kind}{_said(interval)}{none}."


def _numbers(held: Any) -> tuple:
    return held if isinstance(held, tuple) else (held,)


def _kinds(field: dataclasses.Field) -> set[Any]:
    """The types that an annotation is made of, those in tuples too."""
    found, left = set(), [field.type]
    while left:
        kind = left.pop()
        found.add(kind)
        left += typing.get_args(kind)
    return found


def _takes_none(field: dataclasses.Field) -> bool:
    return type(None) in _kinds(field) or field.default is None


def _takes_fractions(field: dataclasses.Field) -> bool:
    return float in _kinds(field)


def _fits(number: Any, interval: str, whole: bool) -> bool:
    if isinstance(number, bool) or not isinstance(number, Integral if whole else Real):
        return False
    low, high = _ends(interval)
    held: Any
    with np.errstate(over="ignore", under="ignore"):
        held = number if whole else float(np.float32(number))
    # What is less than the smallest normal number may be flushed to 0.
    above = held > low if low else held >= float(np.finfo(np.float32).tiny)
    above = above if interval.startswith("(") else held >= low
    return bool(above and (held < high if interval.endswith(")") else held <= high))


def _ends(interval: str) -> tuple[float, float]:
    low, high = interval[1:-1].split(",")
    return float(low), float(high)


def _said(interval: str) -> str:
    """An interval in words: ", 0 or more, below 1"."""
    low, high = (end.strip() for end in interval[1:-1].split(","))
    if interval.startswith("[") and interval.endswith("]"):
        return f", {low} to {high}"
    ends = []
    if low != "-inf":
        ends.append(f", {low} or more" if interval[0] == "[" else f", more than {low}")
    if high != "inf":
        ends.append(f", {high} at most" if interval[-1] == "]" else f", below {high}")
    return "".join(ends) or ", not infinite"
