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
    if "pair_inputs" in batch:
        both = zip(*(texts(tokenizer, of_pair(batch, k)) for k in (0, 1)), strict=True)
        return [f"chosen: {chosen}\nrejected: {rejected}" for chosen, rejected in both]
    found = next((batch[name] for name in TOKENS if name in batch), ())
    rows = enumerate(map(np.atleast_1d, found))
    return [written(tokenizer, unpadded(ids, batch, row)) for row, ids in rows]


def of_pair(rows: Row, which: int) -> Row:
    """The fields of rows with one of two answers, named as those of one text.

    Args:
        rows: a row of `AnswerPairs`, or a batch of them.
        which: 0 is the chosen answer.
    """
    return {
        name.removeprefix("pair_"): array[..., which, :] for name, array in rows.items()
    }


def unpadded(ids: Int[np.ndarray, "..."], batch: Row, row: int) -> np.ndarray:
    """A row's ids up to the last that counts."""
    mask = np.asarray(batch["mask"][row] if "mask" in batch else 1.0)
    if mask.shape != ids.shape or not mask.any():
        return ids
    return ids[: int(np.flatnonzero(mask)[-1]) + 1]
