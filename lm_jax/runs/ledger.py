"""What a run wrote of each step, by which a step that is made again is compared.

It stands in metrics.jsonl: of every step a digest of its batch, the loss and the
gradient's norm; where a checkpoint is saved for an evaluation, a digest of the
parameters. Floats are written exactly, so what is equal is equal to the bit.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from lm_jax.data import digest_of
from lm_jax.selectors import path_name

# In the order in which a step makes them: the first that differs is the cause.
NAMES = {
    "batch": "the batch",
    "loss": "the loss",
    "grad_norm": "the gradient's norm",
    "parameters": "the parameters",
}
DIGESTS = ("batch", "parameters")
Row = Mapping[str, float | int]


def ledger(rows: Iterable[dict]) -> dict[int, dict[str, float | int]]:
    """The rows of metrics.jsonl, those of a step put together."""
    found: dict[int, dict[str, float | int]] = {}
    for row in rows:
        found.setdefault(row["step"], {}).update(row)
    return found


def digest_of_parameters(params: Any) -> int | None:
    """Name parameters by 32 bits; None where parts of them lie elsewhere.

    Args:
        params: as checkpoints hold them: arrays of any device.
    """
    leaves = jax.tree.leaves_with_path(params)
    if not all(leaf.is_fully_addressable for _, leaf in leaves):
        return None
    return digest_of((path_name(path), np.asarray(leaf)) for path, leaf in leaves)


def differing(then: Row, now: Row) -> str | None:
    """The first of `NAMES` that both rows have and that isn't the same to the bit."""
    both = [name for name in NAMES if name in then and name in now]
    return next((n for n in both if repr(then[n]) != repr(now[n])), None)


def told(name: str, value: float | int) -> str:
    """A value of a row in words: digests in hexadecimal, floats to the bit."""
    return f"{int(value):08x}" if name in DIGESTS else f"{value:.9g}"


class Past:
    """What a run had written of steps that it makes again.

    Args:
        rows: of metrics.jsonl, after the checkpoint that it goes on from.

    Attributes:
        seconds: that the run had taken at the last of them; 0 where there is none.
    """

    def __init__(self, rows: Iterable[dict] = ()):
        self._rows = ledger(rows)
        self.seconds = max(
            (r.get("seconds", 0.0) for r in self._rows.values()), default=0.0
        )

    def differs(self, step: int, now: Row) -> str:
        """Say where a step came out otherwise; "" where it didn't, or was said."""
        then = self._rows.get(step, {})
        name = differing(then, now)
        if name is None:
            return ""
        self._rows.clear()
        why = (
            "The data is not what it was."
            if name == "batch"
            else "Other devices or versions do that, and a GPU's sums; one CPU doesn't."
        )
        return (
            f"Step {step} came out otherwise than before the run was stopped: "
            f"{NAMES[name]} was {told(name, then[name])}, and is now "
            f"{told(name, now[name])}. {why}"
        )
