"""Text to tokens to `batch(step)`; numpy and grain only, never jax."""

from lm_jax.data.corpora import Corpus
from lm_jax.data.loader import batches, rows
from lm_jax.data.mixture import Mixture
from lm_jax.data.packing import PackedDocuments
from lm_jax.data.prepared import Prepared
from lm_jax.data.streams import TokenStream
from lm_jax.data.subwords import Subwords
from lm_jax.data.tokenizers import (
    Bytes,
    Characters,
    load_tokenizer,
    save_tokenizer,
)
from lm_jax.data.tokens import Tokens
from lm_jax.data.words import Words

__all__ = [
    "Bytes",
    "Characters",
    "Corpus",
    "Mixture",
    "PackedDocuments",
    "Prepared",
    "Subwords",
    "TokenStream",
    "Tokens",
    "Words",
    "batches",
    "load_tokenizer",
    "rows",
    "save_tokenizer",
]
