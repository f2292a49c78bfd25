"""What is learnt: (model, params, batch, key, carry) -> sums.

`base` says what an objective tells of itself, and `sums` what it gives. Those that
predict tokens make their loss in `over_vocabulary`; read it with `next_token`. Each of
the others is a file. `guide` is another run's model that one reads: `distil`,
`preference`.
"""

from lm_jax.objectives.answer_questions import AnswerQuestions
from lm_jax.objectives.base import ObjectiveBase
from lm_jax.objectives.classify import Classify
from lm_jax.objectives.cosine_similarity import CosineSimilarity
from lm_jax.objectives.distil import Distil
from lm_jax.objectives.find_span import FindSpan
from lm_jax.objectives.guide import Guide
from lm_jax.objectives.info_nce import InfoNCE
from lm_jax.objectives.label_tokens import LabelTokens
from lm_jax.objectives.masked_pairs import MaskedPairs
from lm_jax.objectives.masked_tokens import MaskedTokens
from lm_jax.objectives.next_token import NextToken
from lm_jax.objectives.preference import Preference
from lm_jax.objectives.regress import Regress
from lm_jax.objectives.seq2seq import Seq2Seq
from lm_jax.objectives.sums import Sums, applied
from lm_jax.objectives.word_vectors import BagOfWords, GloVe, SkipGram

Objective = (
    NextToken
    | MaskedTokens
    | MaskedPairs
    | Seq2Seq
    | Classify
    | Regress
    | FindSpan
    | LabelTokens
    | AnswerQuestions
    | SkipGram
    | BagOfWords
    | GloVe
    | Distil
    | Preference
    | InfoNCE
    | CosineSimilarity
)

__all__ = [
    "AnswerQuestions",
    "BagOfWords",
    "Classify",
    "CosineSimilarity",
    "Distil",
    "FindSpan",
    "GloVe",
    "Guide",
    "InfoNCE",
    "LabelTokens",
    "MaskedPairs",
    "MaskedTokens",
    "NextToken",
    "Objective",
    "ObjectiveBase",
    "Preference",
    "Regress",
    "Seq2Seq",
    "SkipGram",
    "Sums",
    "applied",
]
