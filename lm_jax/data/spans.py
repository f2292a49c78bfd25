"""Spans of a text cut out, to be written by a model that reads the rest."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import grain
import numpy as np
from jaxtyping import Int, Integer

from lm_jax.data.fields import Field, mask, targets
from lm_jax.data.frame import Frame
from lm_jax.data.masking import check_rate
from lm_jax.data.prepared import Prepared, check_context, training_tokens
from lm_jax.data.randomness import Draw, uniform
from lm_jax.data.streams import rows_of_epoch, stream_rows
from lm_jax.data.tokens import Progress, tokenize
from lm_jax.data.windows import Row, Windows
from lm_jax.errors import UserError
from lm_jax.text import Corpus, find
from lm_jax.tokenizers import Subwords, Tokenizer, WithSpecials

START = "<start>"


class Lengths(NamedTuple):
    """What every text of one length is divided into."""

    hidden: int
    """Tokens in spans."""
    spans: int
    source: int
    """Tokens that are read: those not hidden, and a sentinel for each span."""
    target: int
    """Tokens that are written: spans after their sentinels, and a last sentinel."""


@dataclass(frozen=True)
class SpanCorruption:
    """One long stream of tokens, cut into contexts with spans hidden.

    Sentinels stand for spans in the source; the target is each sentinel with
    what it hides, and one more (Raffel et al. 2020, 3.1.4). As in T5's own
    program, a text begins with what is read and ends with a span; the number of
    spans and of hidden tokens is fixed, so all rows have the same shapes:
    "source" (source,), "decoder_inputs", "targets" and "mask" (target,).
    """

    gives: ClassVar[tuple[str, ...]] = (
        "source",
        "source_mask",
        "decoder_inputs",
        "targets",
        "mask",
    )

    corpus: Corpus = Corpus()
    """The text."""
    tokenizer: Tokenizer = Subwords()
    context: int = 128
    """Tokens of the text of one example."""
    rate: float = 0.15
    """Share of the tokens that are hidden."""
    span: float = 3.0
    """Mean tokens of a span."""

    def __post_init__(self) -> None:
        """Refuse spans that do not fit into the context."""
        check_context(self.context)
        check_rate(self.rate)
        if not 1 <= self.span < math.inf:
            raise UserError(f"data.span={self.span}: a span has 1 token or more.")
        if round(self.rate * self.context) < self.span:
            raise UserError(
                f"data.rate={self.rate} of data.context={self.context} tokens is less "
                f"than one span of {self.span}. Use --data.context "
                f"{math.ceil(self.span / self.rate)} or more."
            )
        target = divide(self.context, self.rate, self.span).target
        if target > self.context:
            raise UserError(
                f"data.rate={self.rate} and data.span={self.span} make targets of "
                f"{target} tokens, longer than data.context={self.context}. Use a "
                "lower rate or longer spans."
            )

    def prepare(self, cache: Path, progress: Progress | None = None) -> Prepared:
        """Read, train the tokenizer and tokenize, or find what is in the cache.

        Raises:
            UserError: whatever is wrong with the corpus, the tokenizer's size
                or the space on disk; a training split shorter than a context.
        """
        text = find(self.corpus, cache)
        made = tokenize([text], self.tokenizer, text.documents, cache, progress)
        splits, context = made.splits, self.context
        lengths = divide(context, self.rate, self.span)
        sentinels = tuple(f"<span_{i}>" for i in range(lengths.spans + 1))
        tokenizer = WithSpecials(made.tokenizer, (START, *sentinels))

        def row(window: np.ndarray, draw: Draw) -> Row:
            return corrupted_row(
                window,
                divide(len(window), self.rate, self.span),
                tokenizer.id_of(START),
                draw,
            )

        def train(seed: int, batch: int) -> grain.MapDataset:
            return stream_rows(splits["train"].ids, context, seed).map_with_index(
                lambda i, found: row(found["inputs"], uniform(seed, "spans", i))
            )

        def windows(split: str, batch: int) -> Windows:
            ids = splits[split].ids

            def fixed(index: int) -> Row:
                window = ids[index * context : (index + 1) * context]
                made = row(window, uniform(0, "evaluation", "spans", index))
                return padded(made, lengths)

            return Windows(-(-len(ids) // context), fixed, batch)

        def examples(batch: int) -> int:
            return rows_of_epoch(training_tokens(made, context), context)

        statement = (
            f"{made.statement}\nOf {context} tokens, {lengths.hidden} are hidden in "
            f"{lengths.spans} spans: {lengths.source} are read, {lengths.target} "
            "written."
        )
        return Prepared(
            tokenizer=tokenizer,
            splits=splits,
            statement=statement,
            digest=made.digest,
            text=made.text,
            context=context,
            fields=span_fields(lengths),
            examples=examples,
            train=train,
            windows=windows,
            frame=Frame((tokenizer.id_of(START),), tokenizer.id_of(sentinels[-1])),
        )


def span_fields(lengths: Lengths) -> tuple[Field, ...]:
    """Give the fields of texts with spans hidden."""
    read, written = (lengths.source,), (lengths.target,)
    meaning = "true where the source has a token"
    return (
        Field("source", read, "int32", "the tokens that are read, from both sides"),
        Field("source_mask", read, "bool", meaning, "evaluation"),
        Field("decoder_inputs", written, "int32", "the token before each target"),
        targets(lengths.target),
        mask(lengths.target),
    )


def divide(tokens: int, rate: float, span: float) -> Lengths:
    """Give how many tokens of a text are hidden, and in how many spans.

    Args:
        tokens: of the text, at least 1.
        rate: share of them to hide.
        span: mean tokens of a span.
    """
    hidden = min(max(1, round(tokens * rate)), max(1, tokens - 1))
    spans = min(max(1, round(hidden / span)), max(1, tokens - hidden))
    return Lengths(hidden, spans, tokens - hidden + spans, hidden + spans + 1)


def corrupted_row(
    window: Integer[np.ndarray, " tokens"], lengths: Lengths, start: int, draw: Draw
) -> Row:
    """Give the row of a text.

    Args:
        window: the text.
        lengths: of its parts.
        start: id that the target starts after; those after it are sentinels.
        draw: gives random numbers.
    """
    source, target = corrupt(window, lengths, start + 1, draw)
    return {
        "source": source,
        "decoder_inputs": np.concatenate([[start], target[:-1]]).astype(np.int32),
        "targets": target,
        "mask": np.ones(len(target), np.float32),
    }


def corrupt(
    window: Integer[np.ndarray, " tokens"], lengths: Lengths, sentinel: int, draw: Draw
) -> tuple[Int[np.ndarray, " source"], Int[np.ndarray, " target"]]:
    """Give source and target of a text (Raffel et al. 2020, figure 2).

    Args:
        window: the text.
        lengths: of its parts.
        sentinel: id of the first; the others follow it.
        draw: gives random numbers.
    """
    shown = parts(len(window) - lengths.hidden, lengths.spans, draw)
    hidden = parts(lengths.hidden, lengths.spans, draw)
    in_turn = np.stack([shown, hidden], axis=1).ravel()
    covered = np.repeat(np.arange(len(in_turn)) % 2 == 1, in_turn)
    sentinels = sentinel + np.arange(lengths.spans + 1)
    ids = np.asarray(window, np.int32)
    source = np.insert(ids[~covered], np.cumsum(shown), sentinels[:-1])
    places = np.concatenate([[0], np.cumsum(hidden)])
    return source, np.insert(ids[covered], places, sentinels)


def parts(whole: int, count: int, draw: Draw) -> Int[np.ndarray, " count"]:
    """Divide a number into `count` of 1 or more; each way is as likely."""
    cuts = np.sort(np.argsort(draw(max(0, whole - 1)), kind="stable")[: count - 1])
    return np.diff(np.concatenate([[0], cuts + 1, [whole]]))


def padded(row: Row, lengths: Lengths) -> Row:
    """Pad a row by zeros to some lengths; "source_mask" is true up to there."""
    missing = lengths.source - len(row["source"])
    source_mask = np.ones(len(row["source"]), bool)
    wanted = {name: lengths.target - len(row["targets"]) for name in row}
    wanted |= {"source": missing, "source_mask": missing}
    row = row | {"source_mask": source_mask}
    return {name: np.pad(array, (0, wanted[name])) for name, array in row.items()}
