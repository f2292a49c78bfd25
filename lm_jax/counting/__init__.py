"""Language models that count: n-grams of any order, in numpy alone."""

from lm_jax.counting.fitted import FittedNGram, load
from lm_jax.counting.ngram import NGram
from lm_jax.counting.smoothing import (
    AddK,
    KneserNey,
    MaximumLikelihood,
    Smoothing,
    StupidBackoff,
)

__all__ = [
    "AddK",
    "FittedNGram",
    "KneserNey",
    "MaximumLikelihood",
    "NGram",
    "Smoothing",
    "StupidBackoff",
    "load",
]
