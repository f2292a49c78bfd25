"""Models that count, in numpy: n-grams of any order, naive Bayes, BM25.

`ngram`, `naive_bayes` and `bm25` are the values; `fitted` and `fitted_classes` are what
becomes of them, and `saved` their files. N-grams go from `sorting` to `tables` to
`smoothing`, and `generate` continues text.
"""

from lm_jax.counting.bm25 import BM25, FittedBM25, load_bm25
from lm_jax.counting.fitted import FittedNGram, load
from lm_jax.counting.fitted_classes import FittedClasses, load_classes
from lm_jax.counting.naive_bayes import NaiveBayes
from lm_jax.counting.ngram import NGram
from lm_jax.counting.scratch import Scratch
from lm_jax.counting.smoothing import (
    AddK,
    Given,
    KneserNey,
    MaximumLikelihood,
    Smoothing,
    StupidBackoff,
)

Counting = NGram | NaiveBayes | BM25

__all__ = [
    "BM25",
    "AddK",
    "Counting",
    "FittedBM25",
    "FittedClasses",
    "FittedNGram",
    "Given",
    "KneserNey",
    "MaximumLikelihood",
    "NGram",
    "NaiveBayes",
    "Scratch",
    "Smoothing",
    "StupidBackoff",
    "load",
    "load_bm25",
    "load_classes",
]
