"""Text that a model continues: how a token is drawn, and decoding."""

from lm_jax.generation.decode import generate
from lm_jax.generation.sampling import Sampling, sample

__all__ = ["Sampling", "generate", "sample"]
