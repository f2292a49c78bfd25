"""A referee for recipes that are proposed one by one, by people or by programs."""

from lm_jax.contest.value import Contest

__all__ = ["Contest"]
