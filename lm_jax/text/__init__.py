"""Which text, where it lies, how it is split; never imports jax."""

from lm_jax.text.corpora import find
from lm_jax.text.corpus import Corpus

__all__ = ["Corpus", "find"]
