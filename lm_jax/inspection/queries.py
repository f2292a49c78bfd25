"""What a model is asked of tokens, and its answers: few compiled shapes for all."""

import functools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer

from lm_jax.counting import FittedNGram
from lm_jax.kernels.loss import cut, pieces_of, put_together
from lm_jax.platform import products_of
from lm_jax.runs.model import CountedModel, NeuralModel

# Tokens that are read together, and entries of the distributions made together.
_TOKENS, _ENTRIES = 8192, 1 << 24

Progress = Callable[[str, int, int], None]
"""Told a description, what is done and what there is in all."""


class Query(NamedTuple):
    """Tokens that are read, and what is asked about some of their places.

    Attributes:
        tokens: of one row.
        places: where something is predicted: after this token by a causal model, in
            its place by one that reads from both sides.
        targets: the token of each place whose probability is asked for.
    """

    tokens: Int[np.ndarray, " time"]
    places: Int[np.ndarray, " asked"]
    targets: Int[np.ndarray, " asked"]


class Answers(NamedTuple):
    """What a model says of each place that it was asked about.

    Attributes:
        log_probabilities: ln p of the target, in nats.
        ranks: 1 where no token is likelier.
        likeliest: the likeliest tokens, first to last.
        of_likeliest: their ln p.
    """

    log_probabilities: Float[np.ndarray, " asked"]
    ranks: Int[np.ndarray, " asked"]
    likeliest: Int[np.ndarray, "asked alternatives"]
    of_likeliest: Float[np.ndarray, "asked alternatives"]


def joined(parts: Sequence[Answers]) -> Answers:
    """Put the answers to several queries side by side."""
    return Answers(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def answer(
    model: NeuralModel | CountedModel,
    queries: Sequence[Query],
    alternatives: int = 1,
    progress: Progress | None = None,
) -> list[Answers]:
    """Ask a model that predicts tokens.

    Rows of like length are read together, padded to a power of two: so few programs
    are compiled, whatever the texts.

    Args:
        model: of any family.
        queries: each of at least one token and one place, and of no more tokens than
            the model reads.
        alternatives: how many of the likeliest tokens to name.
        progress: told (description, done, total).
    """
    if isinstance(model, CountedModel):
        assert isinstance(model.fitted, FittedNGram)
        return [_counted(model.fitted, query, alternatives) for query in queries]
    alternatives = min(alternatives, model.model.vocab_size)
    told = progress or (lambda *_: None)
    found: dict[int, Answers] = {}
    for numbers, width, asked in _batches(queries, model.longest):
        rows = [queries[number] for number in numbers]
        batch = _padded(rows, width, asked)
        columns = _answered(model.model, model.params, *batch, alternatives)
        columns = [np.asarray(column) for column in columns]
        for row, (number, query) in enumerate(zip(numbers, rows, strict=True)):
            real = len(query.places)
            found[number] = Answers(*(column[row, :real] for column in columns))
        told("reading", len(found), len(queries))
    return [found[number] for number in range(len(queries))]


def _batches(
    queries: Sequence[Query], most: int | None
) -> Iterator[tuple[list[int], int, int]]:
    """Give numbers of queries that are read together, and the shape of their rows."""
    alike: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, query in enumerate(queries):
        width = _rounded(len(query.tokens))
        width = width if most is None else min(width, most)
        asked = min(_rounded(len(query.places)), width) if len(query.places) > 1 else 1
        alike[width, asked].append(number)
    for (width, asked), numbers in sorted(alike.items()):
        size = max(1, _TOKENS // width)
        for start in range(0, len(numbers), size):
            yield numbers[start : start + size], width, asked


def _rounded(number: int) -> int:
    """The power of two from 8 on that holds a number."""
    return max(8, 1 << (number - 1).bit_length())


def _padded(rows: list[Query], width: int, asked: int) -> tuple[np.ndarray, ...]:
    """Tokens, segments, places and targets of rows; there are 1, 2, 4, ... rows."""
    count = 1 << (len(rows) - 1).bit_length()
    tokens, segments = np.zeros((2, count, width), np.int32)
    places, targets = np.zeros((2, count, asked), np.int32)
    segments[:, 0] = 1  # of a row without a query
    for row, query in enumerate(rows):
        tokens[row, : len(query.tokens)] = query.tokens
        segments[row, : len(query.tokens)] = 1
        places[row, : len(query.places)] = query.places
        targets[row, : len(query.places)] = query.targets
    return tokens, segments, places, targets


@functools.partial(jax.jit, static_argnames=("model", "alternatives"))
def _answered(
    model: nn.Module,
    params: Any,
    tokens: Int[Array, "rows time"],
    segments: Int[Array, "rows time"],
    places: Int[Array, "rows asked"],
    targets: Int[Array, "rows asked"],
    alternatives: int,
) -> tuple[Array, ...]:
    """Give the fields of `Answers`, of each row."""
    # Nothing before it sees padding at the end of a row.
    read = None if model.causal else segments

    def of_piece(piece: tuple[Array, Array]) -> tuple[Array, ...]:
        hidden, targets = piece
        logits: Any = model.apply({"params": params}, hidden, method="logits")
        told = jax.nn.log_softmax(logits)
        own = jnp.take_along_axis(told, targets[..., None], -1)
        best, ids = jax.lax.top_k(told, alternatives)
        return own[..., 0], 1 + (told > own).sum(-1), ids, best

    with products_of(model):
        hidden, _ = model.apply(
            {"params": params}, tokens, segments=read, method="features"
        )
        hidden = jnp.take_along_axis(hidden, places[..., None], axis=1)
        rows, asked = targets.shape
        pieces = pieces_of(rows, asked, model.vocab_size)
        found = jax.lax.map(of_piece, (cut(hidden, pieces), cut(targets, pieces)))
    return tuple(put_together(array, asked) for array in found)


def _counted(fitted: FittedNGram, query: Query, alternatives: int) -> Answers:
    """Answer by counts, some distributions at a time."""
    order, alternatives = fitted.order, min(alternatives, fitted.vocab_size)
    before = np.concatenate([np.full(order, -1), query.tokens])
    windows = np.lib.stride_tricks.sliding_window_view(before, order)
    contexts = windows[query.places + 1][:, 1:]
    size = max(1, _ENTRIES // fitted.vocab_size)
    parts = [
        _of_distributions(
            fitted.next_probabilities(contexts[start : start + size]),
            query.targets[start : start + size],
            alternatives,
        )
        for start in range(0, len(contexts), size)
    ]
    return joined(parts)


def _of_distributions(
    p: Float[np.ndarray, "asked vocab"],
    targets: Integer[np.ndarray, " asked"],
    alternatives: int,
) -> Answers:
    own = np.take_along_axis(p, targets[:, None], 1)
    likeliest = np.argsort(-p, axis=1, kind="stable")[:, :alternatives]
    with np.errstate(divide="ignore"):
        best = np.log(np.take_along_axis(p, likeliest, 1))
        told = np.log(own[:, 0])
    ranks = 1 + (p > own).sum(1)
    return Answers(told, ranks.astype(np.int64), likeliest, best)
