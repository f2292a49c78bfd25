"""How well documents answer a query, by the terms that both have."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float32, Int

from lm_jax.bounds import check, within
from lm_jax.counting.bags import Sparse
from lm_jax.counting.saved import load_arrays, loading, save_arrays
from lm_jax.errors import UserError
from lm_jax.platform import from_extra


@dataclass(frozen=True)
class BM25:
    """Okapi BM25 (Robertson and Zaragoza 2009), by the library bm25s (Lu 2024).

    Its terms are the tokens of the data: ``Terms()`` has those of Lucene.

    Attributes:
        variant: of the formula, as Kamphuis et al. 2020 tell them apart: "lucene" (no
            weight below 0), "robertson" (the original) or "atire".
        k1: how slowly repeated terms stop to count.
        b: how much long documents are marked down, from 0, not at all, to 1.
    """

    reads: ClassVar[str] = "Passages"

    variant: Literal["lucene", "robertson", "atire"] = "lucene"
    k1: float = within("[0, inf)", 0.9)
    b: float = within("[0, 1]", 0.4)

    def __post_init__(self) -> None:
        """Refuse numbers that can't be."""
        check(self, "model")

    def fit(
        self, documents: list[Int[np.ndarray, " _"]], vocab_size: int
    ) -> "FittedBM25":
        """Weigh each term of each document.

        Args:
            documents: tokens of each.
            vocab_size: number of ids.

        Raises:
            UserError: bm25s is not installed.
        """
        from scipy.sparse import csc_array

        bm25s = library()
        logging.getLogger("bm25s").setLevel(logging.WARNING)  # it tells all it does
        scorer = bm25s.BM25(method=self.variant, k1=self.k1, b=self.b)
        ids = [document.tolist() for document in documents]
        terms = {str(term): term for term in range(vocab_size)}
        scorer.index((ids, terms), show_progress=False)
        found, shape = scorer.scores, (len(documents), vocab_size)
        parts = found["data"], found["indices"], found["indptr"][: vocab_size + 1]
        statement = (
            f"BM25, {self.variant}, k1 {self.k1:g}, b {self.b:g}: {len(parts[0]):,} "
            f"terms in {len(documents):,} documents."
        )
        return FittedBM25(csc_array(parts, shape=shape).tocsr(), statement)


def library() -> Any:
    """Give the library.

    Raises:
        UserError: it is not installed.
    """
    try:
        import bm25s
    except ImportError as error:
        raise UserError(f"BM25 needs bm25s: {from_extra('retrieval')}") from error
    return bm25s


@dataclass(frozen=True, eq=False)
class FittedBM25:
    """The weight of each term of each document; a score is the sum of a query's."""

    writes: ClassVar[bool] = False
    labels: ClassVar[tuple[str, ...]] = ()

    weights: Sparse
    """(documents, terms), float32."""
    statement: str
    """A sentence on what was fitted, and to what."""

    @property
    def parameters(self) -> int:
        """Give the number of weights."""
        return self.weights.nnz

    def scores(
        self, queries: list[Int[np.ndarray, " _"]]
    ) -> Float32[np.ndarray, "queries documents"]:
        """Score each document; a term that a query has twice counts twice.

        Args:
            queries: tokens of each.
        """
        from lm_jax.counting.bags import Grams, bags

        terms = np.arange(self.weights.shape[1])
        counts = bags(queries, Grams(len(terms), (terms,)), binary=False)
        found = counts.astype(np.float32) @ self.weights.T
        return np.asarray(found.todense(), np.float32)

    def save(self, path: Path) -> None:
        """Write all to one .npz file, whole or not at all.

        Raises:
            UserError: the file cannot be written.
        """
        about = {"statement": self.statement, "shape": self.weights.shape}
        parts = ("data", "indices", "indptr")
        save_arrays(path, about, {name: getattr(self.weights, name) for name in parts})


def load_bm25(path: Path) -> FittedBM25:
    """Read what `FittedBM25.save` wrote.

    Raises:
        UserError: there is no such file, or it holds no such weights.
    """
    from scipy.sparse import csr_array

    with loading(path, "BM25"):
        about, arrays = load_arrays(path)
        parts = arrays["data"], arrays["indices"], arrays["indptr"]
        weights = csr_array(parts, shape=tuple(about["shape"]))
        return FittedBM25(weights, about["statement"])
