"""Several corpora mixed by weight."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import grain
import numpy as np

from lm_jax.data.fields import text_fields
from lm_jax.data.prepared import Prepared, training_tokens
from lm_jax.data.streams import (
    TokenStream,
    rows_of_epoch,
    stream_rows,
    stream_windows,
)
from lm_jax.data.tokens import Progress, Tokens, tokenize
from lm_jax.data.windows import Windows
from lm_jax.errors import UserError
from lm_jax.text import find


@dataclass(frozen=True)
class Mixture:
    """Rows of several streams, each as often as its weight says.

    One tokenizer is trained on the training text of all. Evaluation covers the
    split of every part, one part after the other, whatever the weights.
    """

    gives: ClassVar[tuple[str, ...]] = TokenStream.gives

    parts: tuple[TokenStream, ...] = (TokenStream(),)
    """The streams, with the same context, stride and tokenizer."""
    weights: tuple[float, ...] = (1.0,)
    """How often rows come from each part; only their ratios count."""

    def __post_init__(self) -> None:
        """Refuse parts that do not fit together."""
        if not self.parts or len(self.parts) != len(self.weights):
            raise UserError(
                f"Mixture: {len(self.parts)} parts and {len(self.weights)} weights. "
                "Give each part one weight."
            )
        if not all(0 < weight < math.inf for weight in self.weights):
            raise UserError(
                f"Mixture(weights={self.weights}): every weight must be above 0. "
                "Leave out the part that is not wanted."
            )
        for name in ("context", "stride"):
            found = [getattr(part, name) for part in self.parts]
            if len(set(found)) > 1:
                raise UserError(
                    f"Mixture: the parts must have one {name}, but have "
                    f"{', '.join(map(str, found))}."
                )
        if any(part.tokenizer != self.parts[0].tokenizer for part in self.parts):
            raise UserError(
                "Mixture: the parts must have the same tokenizer, but have "
                f"{', '.join(str(part.tokenizer) for part in self.parts)}."
            )

    @property
    def context(self) -> int:
        """Tokens of one example."""
        return self.parts[0].context

    def prepare(self, cache: Path, progress: Progress | None = None) -> Prepared:
        """Prepare all parts with one tokenizer.

        An epoch ends where the first part has been seen once.

        Raises:
            UserError: as `TokenStream.prepare`, for any part.
        """
        texts = [find(part.corpus, cache) for part in self.parts]
        end = any(text.documents for text in texts)
        made = tokenize(texts, self.parts[0].tokenizer, end, cache, progress)
        splits, context = made.splits, self.context
        shares = [weight / sum(self.weights) for weight in self.weights]
        rows = [
            rows_of_epoch(training_tokens(made, context, part), context)
            for part in range(len(texts))
        ]
        fewest = min(n / share for n, share in zip(rows, shares, strict=True))

        def train(seed: int, batch: int) -> grain.MapDataset:
            streams = [
                stream_rows(ids, context, seed, f"part {part}")
                for part, ids in enumerate(_by_part(splits["train"]))
            ]
            return grain.MapDataset.mix(streams, shares)

        def windows(split: str, batch: int) -> Windows:
            parts = _by_part(splits[split])
            return stream_windows(parts, context, batch, self.parts[0].stride)

        def examples(batch: int) -> int:
            return max(1, int(fewest))

        mixed = ", ".join(
            f"{share:.1%} {part.corpus.source}"
            for share, part in zip(shares, self.parts, strict=True)
        )
        made = made._replace(statement=f"{made.statement}\nMixed: {mixed}.")
        return Prepared(
            **made._asdict(),
            context=context,
            fields=text_fields(context),
            examples=examples,
            train=train,
            windows=windows,
            policy=self.parts[0].policy,
        )


def _by_part(tokens: Tokens) -> list[np.ndarray]:
    bounds = zip(tokens.parts[:-1], tokens.parts[1:], strict=True)
    return [tokens.ids[start:end] for start, end in bounds]
