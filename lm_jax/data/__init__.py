"""Text to tokens to `batch(step)`; numpy and grain only, never jax."""

from lm_jax.data.carried import CarriedStream
from lm_jax.data.contexts import HuffmanTree, Noise, WordContexts
from lm_jax.data.cooccurrence import Cooccurrences
from lm_jax.data.loader import batches, rows
from lm_jax.data.masking import MaskedStream
from lm_jax.data.mixture import Mixture
from lm_jax.data.packing import PackedDocuments
from lm_jax.data.prepared import Prepared
from lm_jax.data.spans import SpanCorruption
from lm_jax.data.streams import TokenStream
from lm_jax.data.subwords import Subwords
from lm_jax.data.tokenizers import (
    Bytes,
    Characters,
    load_tokenizer,
    save_tokenizer,
)
from lm_jax.data.tokens import Tokens
from lm_jax.data.vectors import read_vectors, write_vectors
from lm_jax.data.words import Words

__all__ = [
    "Bytes",
    "CarriedStream",
    "Characters",
    "Cooccurrences",
    "HuffmanTree",
    "MaskedStream",
    "Mixture",
    "Noise",
    "PackedDocuments",
    "Prepared",
    "SpanCorruption",
    "Subwords",
    "TokenStream",
    "Tokens",
    "WordContexts",
    "Words",
    "batches",
    "load_tokenizer",
    "read_vectors",
    "rows",
    "save_tokenizer",
    "write_vectors",
]
