"""Documents found by queries: vectors and terms, exact search, indexes, fusion.

`embedding` and `reading` turn texts into vectors, `terms` into words. `index` keeps
either on disk, `nearest` searches vectors, and `hybrid` fuses two rankings (`fusion`).
"""

from lm_jax.retrieval.embedding import embed
from lm_jax.retrieval.fusion import fused
from lm_jax.retrieval.hybrid import Searcher, open_searcher, tune
from lm_jax.retrieval.index import Index, build_index, open_index
from lm_jax.retrieval.nearest import nearest_rows
from lm_jax.retrieval.reading import read_texts

__all__ = [
    "Index",
    "Searcher",
    "build_index",
    "embed",
    "fused",
    "nearest_rows",
    "open_index",
    "open_searcher",
    "read_texts",
    "tune",
]
