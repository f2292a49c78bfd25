"""BM25 is the formula of each variant, summed over the terms of a query."""

from math import log

import numpy as np
import pytest

from lm_jax.counting import BM25, load_bm25
from lm_jax.errors import UserError

pytest.importorskip("bm25s")
DOCUMENTS = [[0, 1, 1, 2], [2, 2, 3], [4], [1, 4, 4, 4, 0, 2], []]
QUERIES = [[1, 1, 4], [3], [0, 2, 9]]
VOCAB = 10


def arrays(texts):
    return [np.array(text, np.int64) for text in texts]


def weight(variant, k1, b, term, document):
    """Robertson and Zaragoza 2009, eq. 3.15; Kamphuis et al. 2020, table 1."""
    count = len(DOCUMENTS)
    length = len(document) / np.mean([len(d) for d in DOCUMENTS])
    has = sum(term in d for d in DOCUMENTS)
    often = document.count(term)
    saturated = often / (often + k1 * (1 - b + b * length))
    if variant == "lucene":
        return log(1 + (count - has + 0.5) / (has + 0.5)) * saturated
    if variant == "robertson":
        # bm25s lets no weight fall below 0.
        return max(0.0, log((count - has + 0.5) / (has + 0.5))) * (k1 + 1) * saturated
    return log(count / has) * (k1 + 1) * saturated


@pytest.mark.parametrize("variant", ["lucene", "robertson", "atire"])
def test_scores_are_those_of_the_formula(variant):
    model = BM25(variant, k1=1.3, b=0.6)
    found = model.fit(arrays(DOCUMENTS), VOCAB).scores(arrays(QUERIES))
    wanted = [
        [sum(weight(variant, 1.3, 0.6, t, d) for t in q if t in d) for d in DOCUMENTS]
        for q in QUERIES
    ]
    if variant == "lucene":
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
    else:  # up to a factor that all documents of a query have
        order = np.argsort(-np.array(wanted), axis=1, kind="stable")
        np.testing.assert_array_equal(np.argsort(-found, 1, kind="stable"), order)
    assert (found[1] > 0).sum() == 1


def test_it_is_read_back_as_it_was_saved(tmp_path):
    fitted = BM25().fit(arrays(DOCUMENTS), VOCAB)
    fitted.save(tmp_path / "bm25.npz")
    again = load_bm25(tmp_path / "bm25.npz")
    queries = arrays(QUERIES)
    np.testing.assert_array_equal(again.scores(queries), fitted.scores(queries))
    assert again.statement == fitted.statement and again.parameters == 10
    (tmp_path / "bm25.npz").write_bytes(b"not that")
    with pytest.raises(UserError, match="damaged, or no BM25"):
        load_bm25(tmp_path / "bm25.npz")
    with pytest.raises(UserError, match="There is no"):
        load_bm25(tmp_path / "other.npz")


def test_numbers_that_can_not_be_are_refused():
    with pytest.raises(UserError, match="model.b"):
        BM25(b=1.5)
