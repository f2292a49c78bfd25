"""Numbers that JSON lacks: infinities and what is no number, written as text."""

import math
from typing import Any

# As text every reader of JSON can take them; `float` reads them back.
_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def encoded(value: Any) -> Any:
    """A value, or all values in mappings and lists, as strict JSON can hold them."""
    if isinstance(value, dict):
        return {name: encoded(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [encoded(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))
    return value


def decoded(number: Any) -> Any:
    """The number that `encoded` wrote; what was no number is given back.

    Raises:
        KeyError: for a text that is none of those that it writes.
    """
    return _NOT_FINITE[number] if isinstance(number, str) else number
