"""Between tokens and vectors: the embedding, and the logits at the other end."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from lm_jax.models.linear import Dense, product_of_transpose


def embedding_table(model: nn.Module) -> Float[Array, "vocab width"]:
    """Declare one vector for each token, in the compact scope of a model."""
    std = model.initial.std("embedding", model.vocab_size, model.width, model.layers)
    shape = (model.vocab_size, model.width)
    return model.param("embedding", nn.initializers.normal(std), shape)


def readout(
    model: nn.Module,
    x: Float[Array, "batch time width"],
    embedding: Float[Array, "vocab width"] | None,
) -> Float[Array, "batch time vocab"]:
    """Score each token of the vocabulary, as float32 of the type computed in.

    Args:
        model: in whose compact scope this is called.
        x: features.
        embedding: makes the logits too; None declares a layer of its own.
    """
    if embedding is not None:
        logits = product_of_transpose(x, embedding.astype(model.dtype))
    else:
        std = model.initial.std("readout", model.width, model.width, model.layers)
        layer = Dense(
            model.width, model.vocab_size, std, dtype=model.dtype, name="logits"
        )
        logits = layer(x)
    logits = logits.astype(jnp.float32)
    scale = model.initial.logit_scale(model.width)
    return logits if scale == 1.0 else logits * scale


def capped(logits: Float[Array, "*batch"], cap: float | None) -> Any:
    """Bend logits to within ``cap``: cap * tanh(x / cap) (Gemma Team 2024, 2)."""
    return logits if cap is None else cap * jnp.tanh(logits / cap)
