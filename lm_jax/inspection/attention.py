"""What each token attends to, in each head of each layer."""

import functools
import re
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict
from jaxtyping import Float, Int

from lm_jax.errors import UserError
from lm_jax.models.softmax import WEIGHTS
from lm_jax.models.stack import unrolled
from lm_jax.platform import products_of
from lm_jax.runs.model import CountedModel, NeuralModel


def attention_maps(
    model: NeuralModel | CountedModel,
    tokens: Int[np.ndarray, " time"],
    segments: Int[np.ndarray, " time"] | None = None,
) -> Float[np.ndarray, "layers heads time time"]:
    """Give the weights of softmax attention, of a text that is read at once.

    They are made by the plain form, for this alone: whatever form a model trains or
    evaluates by keeps none.

    Args:
        model: with layers of softmax attention.
        tokens: of the text.
        segments: of each token, where the model reads them.

    Returns:
        Row t of a map has what token t takes from each token; it adds up to 1.

    Raises:
        UserError: the model has no such layers, or reads fewer tokens.
    """
    if isinstance(model, CountedModel):
        raise UserError("--attention: a model that counts attends to nothing.")
    if len(tokens) > model.context:
        raise UserError(
            f"--attention: the text has {len(tokens):,} tokens, and the model reads "
            f"{model.context:,} at once."
        )
    rows = None if segments is None else segments[None]
    found = flatten_dict(
        _weights(unrolled(model.model), model.params, tokens[None], rows)
    )
    if not found:
        raise UserError(
            f"--attention: {type(model.model).__name__} has no layer of softmax "
            "attention."
        )
    layers = sorted(found, key=lambda path: _number("/".join(path)))
    return np.stack([np.asarray(found[path][0][0]) for path in layers])


@functools.partial(jax.jit, static_argnums=0)
def _weights(model: nn.Module, params: Any, tokens: Any, segments: Any) -> Any:
    with products_of(model):
        _, sown = model.apply(
            {"params": params},
            tokens,
            segments=segments,
            method="features",
            mutable=[WEIGHTS],
        )
    return sown.get(WEIGHTS, {})


def _number(path: str) -> int:
    """Of a layer, in its path."""
    return int(re.findall(r"\d+", path)[0])
