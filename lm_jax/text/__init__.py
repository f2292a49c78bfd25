"""Which text, where it lies, how it is split; never imports jax."""

from lm_jax.text.corpora import find
from lm_jax.text.corpus import Corpus
from lm_jax.text.pieces import Columns

__all__ = ["Columns", "Corpus", "find"]
