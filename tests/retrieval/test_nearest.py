"""Exact search finds what sorting all products finds, in blocks, on all devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.mesh import make_mesh
from lm_jax.models import BiEncoder, Encoder, Learned
from lm_jax.retrieval import fused, nearest_rows, read_texts
from lm_jax.sharding import Sharding
from tests.first import first_params

RANDOM = np.random.default_rng(0)
TABLE = RANDOM.integers(-2, 3, (90, 4)).astype(np.float32)  # with many ties
QUERIES = RANDOM.integers(-2, 3, (5, 4)).astype(np.float32)


def mesh(devices):
    return make_mesh(Sharding(), jax.devices()[:devices])


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("block", [3, 7, 1000])
@pytest.mark.parametrize("depth", [1, 10, 200])
def test_it_is_what_sorting_finds_ties_and_all(devices, block, depth):
    places, scores = nearest_rows(QUERIES, TABLE, depth, mesh(devices), block)
    products = QUERIES @ TABLE.T
    wanted = np.argsort(-products, axis=1, kind="stable")[:, :depth]
    # A block holds more than is asked of it, or all of what it holds.
    np.testing.assert_array_equal(places, wanted)
    np.testing.assert_array_equal(scores, np.take_along_axis(products, wanted, 1))


def test_a_table_may_be_memory_mapped_and_rounded(tmp_path):
    TABLE.astype(np.float16).tofile(tmp_path / "v")
    table = np.memmap(tmp_path / "v", "float16", "r", shape=TABLE.shape)
    places, _ = nearest_rows(QUERIES, table, 7, mesh(8), block=4)
    np.testing.assert_array_equal(places, nearest_rows(QUERIES, TABLE, 7, mesh(1))[0])


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 8])
def test_texts_of_all_lengths_are_read_in_their_order(devices):
    body = Encoder(layers=1, heads=2, width=8, vocab_size=9, positions=Learned(32))
    model = BiEncoder(body, vocab_size=9)
    texts = [RANDOM.integers(0, 9, size) for size in (3, 30, 1, 17, 16, 40, 2)]
    params = first_params(model, 0, jnp.asarray(texts[0][None]))
    found = read_texts(model, params, texts, "passage", 32, mesh(devices))
    for text, vector in zip(texts, found, strict=True):
        # What is longer keeps its last token.
        kept = text if len(text) <= 32 else np.append(text[:31], text[-1:])
        alone = model.apply({"params": params}, jnp.asarray(kept[None]))
        np.testing.assert_allclose(vector, alone[0], atol=1e-5)


def test_rankings_are_fused_by_their_ranks_alone():
    first, second = {"a": 9.0, "b": 8.0}, {"b": 0.2, "c": 0.1}
    found = fused(first, second, 0.25)
    wanted = {"b": 0.75 / 62 + 0.25 / 61, "a": 0.75 / 61, "c": 0.25 / 62}
    assert found == pytest.approx(wanted) and list(found) == ["b", "a", "c"]
    assert list(fused(first, second, 0.0)) == ["a", "b"]
    assert list(fused(first, second, 1.0)) == ["b", "c"]
    assert list(fused({"a": 1.0}, {"b": 1.0}, 0.5)) == ["a", "b"]  # equal
