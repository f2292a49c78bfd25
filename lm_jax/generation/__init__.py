"""Text that a model writes: how a token is drawn, searches, and decoding.

`decode` continues prompts, by the compiled calls of `steps`; `sampling` draws a token,
after the `penalties`. `beams`, `contrastive` and `speculative` choose in other ways,
and `constraints` says what may come at all.
"""

from lm_jax.generation.beams import Beam
from lm_jax.generation.constraints import Choices, Constraint, Regex, Schema
from lm_jax.generation.contrastive import Contrastive
from lm_jax.generation.decode import continue_prompts, generate
from lm_jax.generation.penalties import History
from lm_jax.generation.sampling import Sampling, sample
from lm_jax.generation.steps import Continuation

__all__ = [
    "Beam",
    "Choices",
    "Constraint",
    "Continuation",
    "Contrastive",
    "History",
    "Regex",
    "Sampling",
    "Schema",
    "continue_prompts",
    "generate",
    "sample",
]
