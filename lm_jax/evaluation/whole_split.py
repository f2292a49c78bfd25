"""Sums over a whole split."""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from lm_jax.data.windows import Windows
from lm_jax.sharding import to_mesh


def summed(
    evaluation_step: Callable[[Any, dict, Any], tuple[dict, Any]],
    params: Any,
    batches: Windows,
    mesh: Mesh,
    carry: Any = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, float]:
    """Sum an objective's metrics and its weight over a whole split.

    Args:
        evaluation_step: (params, batch, carry) -> (sums, carry).
        params: the parameters.
        batches: the split; "mask" marks real targets.
        mesh: where to compute.
        carry: of no token yet, where batches continue each other, else None.
        progress: told (description, done, total).

    Returns:
        The sums; "weight" alone, 0, where there is no batch.
    """
    sums: list[dict] = []
    if progress is not None:
        progress("evaluating", 0, len(batches))  # the first batch compiles
    for index in range(len(batches)):
        batch = to_mesh(batches[index], mesh)
        found, carry = evaluation_step(params, batch, carry)
        sums.append(found)
        # The device is never waited for here, so the bar runs a little ahead.
        if progress is not None:
            progress("evaluating", index + 1, len(batches))
    read = jax.device_get(sums)
    names = read[0] if read else {"weight": 0.0}
    return {name: math.fsum(float(part[name]) for part in read) for name in names}
