"""An even sample of a text's lines, that is always the same."""

import random
from collections.abc import Iterable
from itertools import compress
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from lm_jax.text.splitting import size_of


class _Drawn(NamedTuple):
    """Texts with the number that each has drawn, and their sizes in bytes."""

    numbers: Float[np.ndarray, " texts"]
    sizes: Int[np.ndarray, " texts"]
    texts: list[str]

    def below(self, threshold: float) -> "_Drawn":
        """Keep the texts whose numbers are below a threshold."""
        low = self.numbers < threshold
        texts = list(compress(self.texts, low.tolist()))
        return _Drawn(self.numbers[low], self.sizes[low], texts)


def sample(texts: Iterable[list[str]], budget: int) -> list[str]:
    """Keep an even sample of texts, in their order, of at most `budget` bytes.

    Each text draws a number once; those below a threshold are kept, and the
    threshold falls whenever they grow over the budget. So it takes one reading,
    memory for the budget and one group, and gives the same sample every time,
    however texts are grouped.

    Args:
        texts: in groups.
        budget: of all that is kept.
    """
    draw = random.Random(0).random
    kept: list[_Drawn] = []
    threshold, total = 1.0, 0
    for group in texts:
        numbers = np.fromiter((draw() for _ in group), float, len(group))
        drawn = _Drawn(numbers, np.zeros(len(group), np.int64), group).below(threshold)
        sizes = np.fromiter(map(size_of, drawn.texts), np.int64, len(drawn.texts))
        kept.append(drawn._replace(sizes=sizes))
        total += int(sizes.sum())
        while total > budget:
            threshold *= 0.9
            kept = [each.below(threshold) for each in kept]
            total = sum(int(each.sizes.sum()) for each in kept)
    return [text for each in kept for text in each.texts]
