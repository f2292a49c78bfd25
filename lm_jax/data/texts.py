"""The text of a batch, for people."""

import numpy as np
from jaxtyping import Int

from lm_jax.data.windows import Row
from lm_jax.tokenizers import Trained
from lm_jax.tokenizers.trained import written

# The arrays of a row that are tokens.
TOKENS = ("inputs", "contexts", "source", "decoder_inputs", "originals", "targets")


def texts(tokenizer: Trained, batch: Row) -> list[str]:
    """The text that each row of a batch begins with; none where no field is tokens."""
    found = next((batch[name] for name in TOKENS if name in batch), ())
    rows = enumerate(map(np.atleast_1d, found))
    return [written(tokenizer, unpadded(ids, batch, row)) for row, ids in rows]


def unpadded(ids: Int[np.ndarray, "..."], batch: Row, row: int) -> np.ndarray:
    """A row's ids up to the last that counts."""
    mask = np.asarray(batch["mask"][row] if "mask" in batch else 1.0)
    if mask.shape != ids.shape or not mask.any():
        return ids
    return ids[: int(np.flatnonzero(mask)[-1]) + 1]
