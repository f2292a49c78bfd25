"""What is measured of a fitted model: values, each with run(fitted, split)."""

from lm_jax.evaluation.fitted import Fitted, Found
from lm_jax.evaluation.likelihood import Accuracy, Likelihood
from lm_jax.evaluation.neural_cache import NeuralCache
from lm_jax.evaluation.sample import Sample
from lm_jax.evaluation.word_similarity import WordSimilarity

Evaluation = Likelihood | Accuracy | NeuralCache | WordSimilarity | Sample

__all__ = [
    "Accuracy",
    "Evaluation",
    "Fitted",
    "Found",
    "Likelihood",
    "NeuralCache",
    "Sample",
    "WordSimilarity",
]
