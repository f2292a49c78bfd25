"""Numbers for people: as many digits as they have meaning, one way in a column."""

import math
from collections.abc import Iterable

_MOST = 6  # decimals
_LARGE = 1e7  # what is larger is written as a power of ten


def decimals(values: Iterable[float], spreads: Iterable[float]) -> int:
    """How many decimals a column of figures needs.

    Two digits of the usual spread, one of the smallest; without spreads, four digits
    of the smallest figure.
    """
    sizes = sorted(abs(x) for x in values if x and math.isfinite(x))
    known = sorted(x for x in spreads if x and math.isfinite(x))
    if known:
        needed = [2 - _digits(known[(len(known) - 1) // 2]), 1 - _digits(known[0])]
        return min(max(0, *needed), _MOST)
    return min(max(0, 4 - _digits(sizes[0])), _MOST) if sizes else 1


def _digits(number: float) -> int:
    """Digits before the point: 3 of 123.4, 0 of 0.5, -2 of 0.001."""
    return math.floor(math.log10(number)) + 1


def figure(value: float, places: int) -> str:
    """A figure with so many decimals."""
    if math.isfinite(value) and abs(value) >= _LARGE:
        return f"{value:.3e}"
    return f"{value:.{places}f}"


def short(number: int | float) -> str:
    """A count in three digits: 12.1M, 1.00M, 930k."""
    for factor, suffix in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * factor:
            return f"{number / factor:#.3g}".rstrip(".") + suffix
    return f"{number:.3g}"


def duration(seconds: int | float) -> str:
    """Seconds, minutes, hours or days, whichever reads best, in two digits or more."""
    for size, letter in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 1.5 * size:
            count = seconds / size
            return f"{count:.0f}{letter}" if count >= 9.95 else f"{count:.1f}{letter}"
    return f"{seconds:.0f}s" if seconds >= 9.95 else f"{seconds:.1f}s"


def size(count: int | float) -> str:
    """Bytes: 12.3 MB."""
    for factor, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= 0.9995 * factor:
            return f"{count / factor:#.3g}".rstrip(".") + f" {unit}"
    return f"{count:.0f} B"
