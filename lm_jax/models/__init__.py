"""Pure Flax modules: they know arrays and nothing else."""

from lm_jax.models.feedforward import MLP, FeedForward, Gated
from lm_jax.models.positions import (
    Learned,
    NoPositions,
    Positions,
    Rotary,
    Sinusoidal,
)
from lm_jax.models.transformer import Transformer

__all__ = [
    "MLP",
    "FeedForward",
    "Gated",
    "Learned",
    "NoPositions",
    "Positions",
    "Rotary",
    "Sinusoidal",
    "Transformer",
]
