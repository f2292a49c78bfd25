"""The one language for lengths of training: "2000 steps", "3 epochs",
"10M tokens", "1e16 flops"."""

import math
import re
from dataclasses import dataclass

from lm_jax.errors import UserError

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


def parse_duration(text: str, field: str = "") -> tuple[float, str]:
    """Read "2000 steps" as (2000.0, "step").

    Args:
        text: a number and a unit.
        field: that holds it, for the message.

    Raises:
        UserError: when it is not a number and one of the four units.
    """
    match = _PATTERN.fullmatch(text)
    unit = match[3].lower().removesuffix("s") if match else ""
    if match is None or unit not in ("step", "epoch", "token", "flop"):
        place = f"{field}: " if field else ""
        raise UserError(
            f"{place}'{text}' is not a duration. Write a number and a unit, as in "
            "'2000 steps', '3 epochs', '10M tokens' or '1e16 flops'."
        )
    return float(match[1]) * _SUFFIXES[match[2].lower()], unit


def steps(text: str, units: Units) -> int:
    """Number of steps of a duration, rounded up.

    Raises:
        UserError: when it can't be parsed.
    """
    amount, unit = parse_duration(text)
    per_step = {
        "step": 1.0,
        "epoch": 1.0 / units.steps_per_epoch,
        "token": units.tokens,
        "flop": units.flops,
    }[unit]
    # 3 * (1 / 3) must not become 2 steps, nor 10 * 0.1 become 11.
    return math.ceil(round(amount / per_step, 6))
