"""What a model remembers of the tokens before a batch."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array


def continued(memory: Any, batch: dict[str, Array]) -> Any:
    """Clear the memory of the rows that begin anew: "starts" is 1 there.

    Args:
        memory: arrays (rows, ...), by `empty_memory` or from the batch before.
        batch: its "starts" (rows,) are 0 where a row goes on.
    """

    def clear(part):
        starts = batch["starts"].reshape(-1, *[1] * (part.ndim - 1))
        return jnp.where(starts > 0, jnp.zeros_like(part), part)

    return jax.tree.map(clear, memory)
