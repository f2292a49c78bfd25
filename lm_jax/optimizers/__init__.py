"""Optimizer values, each turned into one optax transformation.

`rule` does that, with the rate, clipping and decay of `base`. The optimizers are in
`elementwise`, `adafactor` and `muon`.
"""

from lm_jax.optimizers.adafactor import Adafactor
from lm_jax.optimizers.base import OptimizerBase
from lm_jax.optimizers.elementwise import SGD, Adadelta, AdamW, Lion, RMSProp
from lm_jax.optimizers.gradual import begun
from lm_jax.optimizers.muon import Muon
from lm_jax.optimizers.rule import transformation

Optimizer = SGD | RMSProp | AdamW | Adadelta | Adafactor | Lion | Muon

__all__ = [
    "SGD",
    "Adadelta",
    "Adafactor",
    "AdamW",
    "Lion",
    "Muon",
    "Optimizer",
    "OptimizerBase",
    "RMSProp",
    "begun",
    "transformation",
]
