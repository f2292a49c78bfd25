"""The tree is a prefix code, and there is no shorter one."""

import heapq

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.data.huffman import huffman
from lm_jax.errors import UserError
from tests.properties import quick

counts = st.lists(st.integers(0, 1000), min_size=2, max_size=40)


def shortest(counts):
    """Bits of the whole text by the textbook's heap."""
    heap, bits = list(counts), 0
    heapq.heapify(heap)
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        bits += joined
        heapq.heappush(heap, joined)
    return bits


def codes(tree):
    return ["".join("+-"[int(t < 0)] for t in row if t) for row in tree.turns]


@quick
@given(counts)
def test_no_code_is_shorter(counts):
    lengths = [len(code) for code in codes(huffman(np.array(counts)))]
    assert np.dot(lengths, counts) == shortest(counts)


@quick
@given(counts)
def test_codes_are_prefix_free_and_complete(counts):
    found = sorted(codes(huffman(np.array(counts))))
    assert not any(b.startswith(a) for a, b in zip(found, found[1:], strict=False))
    assert sum(2.0 ** -len(code) for code in found) == 1.0


@quick
@given(counts)
def test_a_node_is_a_prefix(counts):
    tree = huffman(np.array(counts))
    prefix_of = {}
    for row, code in zip(tree.nodes, codes(tree), strict=True):
        assert row[0] == 0
        assert np.all(row[len(code) :] == 0)
        for depth in range(len(code)):
            assert prefix_of.setdefault(row[depth], code[:depth]) == code[:depth]
    assert sorted(prefix_of) == list(range(len(counts) - 1))
    assert len(set(prefix_of.values())) == len(counts) - 1


def test_one_word_makes_no_tree():
    with pytest.raises(UserError, match=r"tree over 1 word\(s\) .* 2 words or more"):
        huffman(np.array([3]))
