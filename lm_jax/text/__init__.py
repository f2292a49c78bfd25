"""Which text, where it lies, how it is split; never imports jax."""

from lm_jax.text.corpora import Corpus, find

__all__ = ["Corpus", "find"]
