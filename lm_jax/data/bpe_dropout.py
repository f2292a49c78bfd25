"""Words cut into other pieces each time: byte-pair encoding with merges left out."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np
from jaxtyping import Int

from lm_jax.bounds import check, within
from lm_jax.data.randomness import Draw
from lm_jax.tokenizers import Trained
from lm_jax.tokenizers.subwords import SubwordTokenizer


@dataclass(frozen=True)
class BPEDropout:
    """Cut words into other, smaller pieces (Provilkov et al. 2020, algorithm 1).

    Tokens on disk are those of the usual cut; a row of training is cut anew from its
    characters. It grows by that, and what its length doesn't hold is left out.
    """

    rate: float = within("[0, 1)", 0.1)
    """Chance that a merge is left out, at each step of making a word."""

    def __post_init__(self) -> None:
        """Refuse what is no chance."""
        check(self, "data.augment: BPEDropout")

    def change(
        self, tokenizer: Trained
    ) -> Callable[[Int[np.ndarray, " tokens"], Draw], Int[np.ndarray, " more"]]:
        """Give what cuts tokens anew.

        Raises:
            TypeError: the tokenizer makes no pieces by merging.
        """
        if not isinstance(tokenizer, SubwordTokenizer):
            raise TypeError(f"{type(tokenizer).__name__} has no merges.")
        pieces, score = tokenizer.pieces(), tokenizer.scores()
        number = {pieces[i]: i for i in score}
        ranks = {pieces[i]: rank for i, rank in score.items()}

        def cut(ids: np.ndarray, draw: Draw) -> np.ndarray:
            lots, made = _endless(draw), list[int]()
            # Bytes and ends stay what they are.
            for spelled, run in groupby(ids.tolist(), lambda i: i in score):
                if not spelled:
                    made += run
                    continue
                for word in words_of("".join(pieces[i] for i in run)):
                    made += [number[p] for p in merged(word, ranks, self.rate, lots)]
            return np.array(made, np.int32)

        return cut


def _endless(draw: Draw) -> Iterator[float]:
    while True:
        yield from draw(256).tolist()


def words_of(text: str) -> list[str]:
    """Cut before each space, written as a sign, that follows something else."""
    cuts = [k + 1 for k, (a, b) in enumerate(pairwise(text)) if a != "▁" == b]
    return [text[a:b] for a, b in pairwise([0, *cuts, len(text)])]


def merged(
    word: str, scores: Mapping[str, float], rate: float, lots: Iterator[float]
) -> list[str]:
    """Make the pieces of a word, beginning with its characters.

    At each step each merge that is possible is left out by chance; of the others that
    of the highest score is made, the first where there are several. With a rate of 0
    it is byte-pair encoding.

    Args:
        word: of characters that are pieces.
        scores: of each piece.
        rate: chance to be left out.
        lots: random numbers, uniform in [0, 1).
    """
    parts = list(word)
    while True:
        joined = map("".join, pairwise(parts))
        # A lot is drawn for what is a piece alone.
        possible = [
            (scores[piece], -k)
            for k, piece in enumerate(joined)
            if piece in scores and next(lots) >= rate
        ]
        if not possible:
            return parts
        k = -max(possible)[1]
        parts[k : k + 2] = ["".join(parts[k : k + 2])]
