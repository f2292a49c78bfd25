"""Ablations: what is asked, and the plan of the runs that answer it.

`study` is the question, `plan` the cells that answer it, `plan_file` how they are
written, and `states` what became of each. `tune`, `match` and `grid` make a comparison
fair.
"""

from lm_jax.ablation.distributions import integers, log_uniform, uniform
from lm_jax.ablation.study import PublishedEffect, Study

__all__ = ["PublishedEffect", "Study", "integers", "log_uniform", "uniform"]
