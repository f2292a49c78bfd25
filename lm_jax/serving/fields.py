"""Fields of a body of JSON, each read as what it is to be."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

from lm_jax.serving.refusals import Refused

_MOST = sys.float_info.max


def read_field(
    body: Mapping[str, Any], name: str, read: Callable[[Any], Any], default: Any
) -> Any:
    """Give a field of a body; one that is null or not there has its default.

    Args:
        body: of the request.
        name: of the field.
        read: makes a value of it, or raises ValueError with what is to be given.
        default: where there is none.

    Raises:
        Refused: it can't be read.
    """
    value = body.get(name)
    if value is None:
        return default
    try:
        return read(value)
    except ValueError as error:
        raise Refused(400, f"{name}={value!r:.40}: give {error}.", name) from error


def whole(low: int, high: int) -> Callable[[Any], int]:
    """Give what reads a whole number within bounds, and raises ValueError else."""

    def read(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"a whole number, {low} to {high}")
        return value

    return read


def number(value: Any) -> float:
    """Read a finite number.

    Raises:
        ValueError: it is none.
    """
    if type(value) in (int, float) and abs(value) <= _MOST:
        return float(value)
    raise ValueError("a number")


def boolean(value: Any) -> bool:
    """Read true or false.

    Raises:
        ValueError: it is neither.
    """
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def text(value: Any) -> str:
    """Read a text.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, str):
        raise ValueError("a text")
    return value


def mapping(value: Any) -> dict:
    """Read an object.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, dict):
        raise ValueError("an object")
    return value


def one_of(*choices: str) -> Callable[[Any], str]:
    """Give what reads one of some words, and raises ValueError else."""

    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError(" or ".join(choices))
        return value

    return read
