"""Sums over a whole split."""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from lm_jax.data.windows import Windows
from lm_jax.sharding import share_of, to_mesh

_AHEAD = 4  # batches that the device is given before their sums are waited for


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
    sums, total, share = [], len(batches), share_of(mesh)
    told = progress or (lambda *_: None)
    told("evaluating", 0, total)  # the first batch compiles
    for index in range(total):
        batch = to_mesh(batches.share(index, share), mesh)
        found, carry = evaluation_step(params, batch, carry)
        sums.append(found)
        # What is done is what was computed: a few batches ago, so that the device
        # always has the next ones.
        done = index - _AHEAD
        if done >= 0:
            jax.block_until_ready(sums[done])
            told("evaluating", done + 1, total)
    read = jax.device_get(sums)
    told("evaluating", total, total)
    names = read[0] if read else {"weight": 0.0}
    return {name: math.fsum(float(part[name]) for part in read) for name in names}
