"""Ablations: a study of variants, its statistics, and the sweep that runs it."""

from lm_jax.ablation.distributions import integers, log_uniform, uniform
from lm_jax.ablation.study import PublishedEffect, Study

__all__ = ["PublishedEffect", "Study", "integers", "log_uniform", "uniform"]
