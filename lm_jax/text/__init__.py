"""Which text, where it lies, how it is split; never imports jax."""

from lm_jax.text.asked import Asked, find_questions
from lm_jax.text.collection import Collection, Judged, read_collection
from lm_jax.text.corpora import find
from lm_jax.text.corpus import Corpus
from lm_jax.text.pieces import Columns

__all__ = [
    "Asked",
    "Collection",
    "Columns",
    "Corpus",
    "Judged",
    "find",
    "find_questions",
    "read_collection",
]
