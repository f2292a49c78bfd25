"""How well a model predicts a text: nats per token, perplexity, bits per byte."""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from lm_jax.data.windows import Windows
from lm_jax.sharding import to_mesh


def likelihood(
    evaluation_step: Callable[[Any, dict], dict],
    params: Any,
    batches: Windows,
    mesh: Mesh,
    text_bytes: int,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, float]:
    """Score a whole split, each token but the first once.

    Args:
        evaluation_step: sums "nats" and "weight" over a batch.
        params: the parameters.
        batches: the split in disjoint windows; "mask" marks real targets.
        mesh: where to compute.
        text_bytes: UTF-8 bytes of the split's text, whatever its tokens.
        progress: told (description, done, total).

    Returns:
        "loss" (nats per token), "perplexity", "bits_per_byte" and "tokens".
        Bits per byte compare models with different tokenizers: all nats, in
        bits, over the bytes of the text (Gao et al. 2020, 3.1).
    """
    sums = []
    for index in range(len(batches)):
        sums.append(evaluation_step(params, to_mesh(batches[index], mesh)))
        # The device is never waited for here, so the bar runs a little ahead.
        if progress is not None:
            progress("evaluating", index + 1, len(batches))
    read = jax.device_get(sums)
    nats = math.fsum(float(batch["nats"]) for batch in read)
    tokens = math.fsum(float(batch["weight"]) for batch in read)
    loss = nats / tokens
    return {
        "loss": loss,
        "perplexity": math.exp(min(loss, 700.0)),
        "bits_per_byte": nats / math.log(2.0) / text_bytes,
        "tokens": int(tokens),
    }
