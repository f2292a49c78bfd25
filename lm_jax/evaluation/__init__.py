"""What is measured of a fitted model: values, each with run(fitted, split).

`fitted` says what they need of a model; `lm_jax.training.scoring` has that of networks.
`likelihood` and `whole_split` are sums over a split, `sample` is text for people, and
each other kind of score is a file.
"""

from lm_jax.evaluation.classes import ClassScores
from lm_jax.evaluation.correlation import Correlation
from lm_jax.evaluation.distinct import Distinct
from lm_jax.evaluation.entities import EntityScores
from lm_jax.evaluation.fitted import Fitted, Found
from lm_jax.evaluation.likelihood import Accuracy, Likelihood
from lm_jax.evaluation.neural_cache import NeuralCache
from lm_jax.evaluation.open_book import OpenBook
from lm_jax.evaluation.predictions import Predictions, write_predictions
from lm_jax.evaluation.ranking import Ranking, rank_scores
from lm_jax.evaluation.rankings import Rankings
from lm_jax.evaluation.rouge import Lead, Rouge
from lm_jax.evaluation.sample import Sample
from lm_jax.evaluation.span_scores import SlidingWindow, SpanScores
from lm_jax.evaluation.tasks import TaskAccuracy
from lm_jax.evaluation.translation import Moses, Translation
from lm_jax.evaluation.word_similarity import WordSimilarity
from lm_jax.evaluation.written_answers import WrittenAnswers

Evaluation = (
    Likelihood
    | Accuracy
    | ClassScores
    | Correlation
    | Ranking
    | SpanScores
    | OpenBook
    | EntityScores
    | SlidingWindow
    | TaskAccuracy
    | NeuralCache
    | Translation
    | Rouge
    | Lead
    | WrittenAnswers
    | Distinct
    | WordSimilarity
    | Sample
)

__all__ = [
    "Accuracy",
    "ClassScores",
    "Correlation",
    "Distinct",
    "EntityScores",
    "Evaluation",
    "Fitted",
    "Found",
    "Lead",
    "Likelihood",
    "Moses",
    "NeuralCache",
    "OpenBook",
    "Predictions",
    "Ranking",
    "Rankings",
    "Rouge",
    "Sample",
    "SlidingWindow",
    "SpanScores",
    "TaskAccuracy",
    "Translation",
    "WordSimilarity",
    "WrittenAnswers",
    "rank_scores",
    "write_predictions",
]
