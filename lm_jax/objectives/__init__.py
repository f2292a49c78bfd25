"""What is learnt: (model, params, batch, key) -> summed loss, weight, metrics."""

from lm_jax.objectives.next_token import NextToken

__all__ = ["NextToken"]
