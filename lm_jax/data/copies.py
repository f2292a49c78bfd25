"""The documents of each split by their digests: copies, and what the text is."""

import json
from array import array
from collections.abc import Iterable, Iterator
from hashlib import blake2b, sha256
from itertools import combinations

import numpy as np

from lm_jax.text.splitting import SPLITS, Piece


class Copies:
    """Counts the documents of a split that another has too, by their digests.

    It holds eight bytes a document, and finds copies of all that passes: two texts
    of a mixture may share documents as well as the splits of one.
    """

    def __init__(self) -> None:
        self._digests = {split: array("Q") for split in SPLITS}

    def watch(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """Hand pieces on as they are, and take the digest of each document."""
        digest = blake2b(digest_size=8)
        for piece in pieces:
            digest.update(piece.text.encode("utf-8", "surrogatepass"))
            if piece.last:
                self._digests[piece.split].frombytes(digest.digest())
                digest = blake2b(digest_size=8)
            yield piece

    def digest(self, arrays: Iterable[str]) -> str:
        """Give the digest of what passed: of each split, its documents in order.

        However the text is stored, and whatever its tokens are.

        Args:
            arrays: digests of texts that are arrays of ids, and don't pass.
        """
        splits = {k: sha256(v.tobytes()).hexdigest() for k, v in self._digests.items()}
        return sha256(json.dumps([splits, *arrays]).encode()).hexdigest()[:20]

    def said(self) -> list[str]:
        """Say for each two splits how many documents of the later the first has."""
        found = {k: np.frombuffer(v, np.uint64) for k, v in self._digests.items() if v}
        sentences = []
        for first, other in combinations(found, 2):
            count = int(np.isin(found[other], found[first]).sum())
            if count:
                total = len(found[other])
                sentences.append(
                    f"{count:,} of the {total:,} documents of {other} "
                    f"({count / total:.1%}) stand in {first} too, word for word."
                )
        return sentences
