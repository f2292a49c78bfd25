"""The Huffman tree over a vocabulary, for hierarchical softmax."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int, Int32

from lm_jax.errors import UserError


class Tree(NamedTuple):
    """The path of each word from the root: inner nodes, and the turn at each."""

    nodes: Int32[np.ndarray, "vocab depth"]
    """Inner nodes, 0 to vocab - 2; the root is the first, 0 stands beyond the leaf."""
    turns: Float32[np.ndarray, "vocab depth"]
    """1 to the left, -1 to the right, 0 beyond the leaf."""


def huffman(counts: Int[np.ndarray, " vocab"]) -> Tree:
    """Give the tree whose mean code, weighted by the counts, is the shortest.

    Huffman 1952; Mikolov et al. 2013, "Distributed Representations", 2.1.

    Args:
        counts: how often each word occurs.

    Raises:
        UserError: there are no two words to choose from.
    """
    words = len(counts)
    if words < 2:
        raise UserError(
            f"A tree over {words} word(s) has nothing to choose from: hierarchical "
            "softmax needs a vocabulary of 2 words or more."
        )
    parent, turn = _merge(counts)
    path, turns = [], []
    at = np.arange(words)
    root = 2 * words - 2
    while np.any(at != root):
        # The root's own row says: stay here, and count no turn.
        path.append(np.where(at == root, -1, parent[at] - words))
        turns.append(turn[at])
        at = parent[at]
    nodes = _from_the_root(np.stack(path, 1), -1)
    return Tree(
        # Numbered from the root, which was made last.
        np.where(nodes < 0, 0, words - 2 - nodes).astype(np.int32),
        _from_the_root(np.stack(turns, 1), 0).astype(np.float32),
    )


def _merge(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Join the two lightest trees until one is left: (parents, turns).

    Trees are made in the order of their weight, so the lightest is the first
    of the sorted leaves or the first of the joined (van Leeuwen 1976).
    """
    words = len(counts)
    leaves = np.argsort(counts, kind="stable").tolist()
    weight = [*counts.tolist(), *[0] * (words - 1)]
    parent = np.arange(2 * words - 1)
    turn = np.zeros(2 * words - 1)
    leaf, joined = 0, words
    for new in range(words, 2 * words - 1):
        for side in (1, -1):
            if leaf < words and (
                joined == new or weight[leaves[leaf]] <= weight[joined]
            ):
                lightest, leaf = leaves[leaf], leaf + 1
            else:
                lightest, joined = joined, joined + 1
            parent[lightest], turn[lightest] = new, side
            weight[new] += weight[lightest]
    return parent, turn


def _from_the_root(path: np.ndarray, beyond: int) -> np.ndarray:
    """Turn paths from the leaves, ended by `beyond`, into paths from the root."""
    depth = (path != beyond).sum(1, keepdims=True)
    back = depth - 1 - np.arange(path.shape[1])
    return np.where(back < 0, beyond, np.take_along_axis(path, back.clip(0), 1))
