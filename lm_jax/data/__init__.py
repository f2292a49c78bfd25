"""Tokens to examples to `batch(step)`; numpy and grain only, never jax."""

from lm_jax.data.carried import CarriedStream
from lm_jax.data.contexts import HuffmanTree, Noise, WordContexts
from lm_jax.data.cooccurrence import Cooccurrences
from lm_jax.data.fields import Field
from lm_jax.data.kinds import Data, giving
from lm_jax.data.loader import batches, rows
from lm_jax.data.masking import MaskedStream
from lm_jax.data.mixture import Mixture
from lm_jax.data.packing import PackedDocuments
from lm_jax.data.prepared import Prepared
from lm_jax.data.spans import SpanCorruption
from lm_jax.data.streams import TokenStream
from lm_jax.data.tokens import Tokens
from lm_jax.data.vectors import read_vectors, write_vectors

__all__ = [
    "CarriedStream",
    "Cooccurrences",
    "Data",
    "Field",
    "HuffmanTree",
    "MaskedStream",
    "Mixture",
    "Noise",
    "PackedDocuments",
    "Prepared",
    "SpanCorruption",
    "TokenStream",
    "Tokens",
    "WordContexts",
    "batches",
    "giving",
    "read_vectors",
    "rows",
    "write_vectors",
]
