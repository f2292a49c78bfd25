"""Ablations: what is asked, and the plan of the runs that answer it."""

from lm_jax.ablation.distributions import integers, log_uniform, uniform
from lm_jax.ablation.study import PublishedEffect, Study

__all__ = ["PublishedEffect", "Study", "integers", "log_uniform", "uniform"]
