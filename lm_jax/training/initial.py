"""Parameters that begin as word vectors made elsewhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Int64

from lm_jax.data.vectors import read_vectors
from lm_jax.errors import UserError
from lm_jax.experiment import InitialVectors
from lm_jax.tokenizers import Trained


class Rows(NamedTuple):
    """What becomes of an embedding: its rows ``ids`` begin as ``vectors``."""

    ids: Int64[np.ndarray, " words"]
    vectors: Float32[np.ndarray, "words width"]


def find_rows(initial: InitialVectors, tokenizer: Trained, params: Any) -> Rows:
    """Read the vectors of the tokens that the file has.

    Args:
        initial: the file, and the parameter that takes its vectors.
        tokenizer: names each row of the parameter.
        params: the parameters, or their shapes.

    Raises:
        UserError: the file can't be read, has none of the tokens or vectors of
            another width, or the model has no such parameter.
    """
    table = params.get(initial.parameter)
    if table is None:
        raise UserError(
            f"initial.parameter: the model has no '{initial.parameter}' of (tokens, "
            f"width). There is: {', '.join(params)}."
        )
    words, vectors = read_vectors(Path(initial.path))
    if vectors.shape[1] != table.shape[1]:
        raise UserError(
            f"{initial.path} has vectors of {vectors.shape[1]} numbers, and the "
            f"model's '{initial.parameter}' is {table.shape[1]} wide. Let "
            f"model.width (or model.embedding_width) be {vectors.shape[1]}."
        )
    row_of = {word: row for row, word in enumerate(words)}
    symbols = tokenizer.symbols(range(tokenizer.vocab_size))
    found = [(i, row_of[s]) for i, s in enumerate(symbols) if s in row_of]
    if not found:
        raise UserError(
            f"{initial.path} has none of the {len(symbols):,} tokens: its first words "
            f"are {', '.join(words[:5])}, the tokenizer's {', '.join(symbols[:5])}."
        )
    ids, rows = np.array(found, np.int64).T
    return Rows(ids, vectors[rows])


def placed(initial: InitialVectors, rows: Rows) -> Callable[[Any], Any]:
    """Give the function that puts the vectors into the parameters."""

    def place(params: Any) -> Any:
        table = params[initial.parameter]
        table = table.at[jnp.asarray(rows.ids)].set(jnp.asarray(rows.vectors))
        return params | {initial.parameter: table}

    return place
