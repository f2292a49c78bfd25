"""Texts that a machine may lack, and what is found in them."""

import pytest

from lm_jax.text import find
from lm_jax.text.known import KNOWN


def needs(source):
    """Skip a test where a corpus that may not be shipped isn't there."""
    root = KNOWN[source].root
    return pytest.mark.skipif(
        root is None or not root.is_dir(),
        reason=f"{source} may not be shipped; set LM_JAX_DATA to a folder of it",
    )


def splits_of(corpus, cache):
    """The documents of each split of a corpus."""
    found = {}
    for piece in find(corpus, cache).pieces():
        documents = found.setdefault(piece.split, [""])
        documents[-1] += piece.text
        if piece.last:
            documents.append("")
    return {split: documents[:-1] for split, documents in found.items()}
