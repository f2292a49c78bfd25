"""Text that a model writes: how a token is drawn, searches, and decoding."""

from lm_jax.generation.beams import Beam
from lm_jax.generation.decode import continue_prompts, generate
from lm_jax.generation.penalties import History
from lm_jax.generation.sampling import Sampling, sample
from lm_jax.generation.steps import Continuation

__all__ = [
    "Beam",
    "Continuation",
    "History",
    "Sampling",
    "continue_prompts",
    "generate",
    "sample",
]
