"""The one language for lengths of training: "2000 steps", "3 epochs",
"10M tokens", "1e16 flops"."""

import math
import re
from dataclasses import dataclass

from lm_jax.errors import UserError

LONGEST = 2**31 - 1
"""Steps that a run can have: they are counted in 32 bits."""
_SUFFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
_PATTERN = re.compile(
    r"\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)([kmbt]?)\s+([a-z]+)\s*", re.IGNORECASE
)


@dataclass(frozen=True)
class Units:
    """What one step of a run amounts to.

    Attributes:
        tokens: tokens a step.
        steps_per_epoch: steps in one pass over the training split.
        flops: floating point operations a step.
    """

    tokens: int
    steps_per_epoch: float
    flops: float


def parse_duration(
    text: str, field: str = "", positive: bool = False
) -> tuple[float, str]:
    """Read "2000 steps" as (2000.0, "step").

    Args:
        text: a number and a unit.
        field: that holds it, for the message.
        positive: whether it must be more than nothing.

    Raises:
        UserError: when it is not a number and one of the four units, or nothing.
    """
    place = f"{field}: " if field else ""
    match = _PATTERN.fullmatch(text)
    unit = match[3].lower().removesuffix("s") if match else ""
    if match is None or unit not in ("step", "epoch", "token", "flop"):
        raise UserError(
            f"{place}'{text}' is not a duration. Write a number and a unit, as in "
            "'2000 steps', '3 epochs', '10M tokens' or '1e16 flops'."
        )
    amount = float(match[1]) * _SUFFIXES[match[2].lower()]
    if positive and not amount:
        raise UserError(f"{place}'{text}' is nothing: give more.")
    return amount, unit


def in_steps(count: int) -> str:
    """A number of steps for people: "1 step" or "2,000 steps"."""
    return f"{count:,} step{'s' * (count != 1)}"


def steps(text: str, units: Units, field: str = "") -> int:
    """Number of steps of a duration, rounded up.

    Args:
        text: the duration.
        units: what a step amounts to.
        field: that holds it, for the message.

    Raises:
        UserError: when it can't be parsed, or is longer than a run can be.
    """
    amount, unit = parse_duration(text, field)
    per_step = {
        "step": 1.0,
        "epoch": 1.0 / units.steps_per_epoch,
        "token": units.tokens,
        "flop": units.flops,
    }[unit]
    found = amount / per_step
    if found > LONGEST:
        place = f"{field}: " if field else ""
        raise UserError(
            f"{place}'{text}' is {found:,.0f} steps, and a run has {LONGEST:,} at most."
        )
    # 3 * (1 / 3) must not become 2 steps, nor 10 * 0.1 become 11, nor 1e-9 none.
    return max(math.ceil(round(found, 6)), 1 if amount else 0)
