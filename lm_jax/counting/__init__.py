"""Models that count, in numpy: n-grams of any order, naive Bayes."""

from lm_jax.counting.fitted import FittedNGram, load
from lm_jax.counting.fitted_classes import FittedClasses, load_classes
from lm_jax.counting.naive_bayes import NaiveBayes
from lm_jax.counting.ngram import NGram
from lm_jax.counting.smoothing import (
    AddK,
    KneserNey,
    MaximumLikelihood,
    Smoothing,
    StupidBackoff,
)

Counting = NGram | NaiveBayes

__all__ = [
    "AddK",
    "Counting",
    "FittedClasses",
    "FittedNGram",
    "KneserNey",
    "MaximumLikelihood",
    "NGram",
    "NaiveBayes",
    "Smoothing",
    "StupidBackoff",
    "load",
    "load_classes",
]
